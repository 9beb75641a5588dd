"""PAM module (libpam-python) that takes IAM tokens for passwords, as RDS and Aurora DSQL do.

A token is a presigned SigV4 GET without "https://". It is checked as AWS checks it, against the one pair of keys in
iam.conf beside this file. Why a token was refused goes to the server's log; the token never does.
"""

import hashlib
import hmac
import os
import re
import sys
import time
from calendar import timegm
from urllib.parse import quote, unquote_to_bytes

FOLDER = os.path.dirname(os.path.abspath(__file__))

# Seconds by which a token may come from the future.
SKEW = 300

# Longest lifetime in seconds, by service: RDS User Guide, "IAM database authentication"; Aurora DSQL User Guide,
# "Generating authentication tokens".
LONGEST = {"rds-db": 900, "dsql": 604800}


class Refused(Exception):
    pass


def check(condition, reason):
    if not condition:
        raise Refused(reason)


def lines(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read().splitlines()


def parameters(query):
    """The query's parameters, percent-decoded. A plus sign is a plus sign."""
    found = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        check(equals, "a parameter has no value")
        check(not re.search("%(?![0-9A-Fa-f]{2})", part), "percent-encoding is broken")
        name, value = (unquote_to_bytes(text).decode("utf-8", "strict") for text in (name, value))
        check(name not in found, f"duplicate parameter {name}")
        found[name] = value
    return found


def encode(text):
    return quote(text, safe="-_.~")


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret, scope, stamp, host, given):
    query = sorted((encode(name), encode(value)) for name, value in given.items())
    query = "&".join(f"{name}={value}" for name, value in query)
    request = f"GET\n/\n{query}\nhost:{host}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = sign(key, part)
    digest = hashlib.sha256(request.encode()).hexdigest()
    return sign(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}").hex()


def verify(user, token):
    """The age in seconds of a token that is to be taken."""
    account = dict(line.split("=", 1) for line in lines("iam.conf"))
    service = account["service"]
    endpoints = [line.lower() for line in lines("iam-endpoints")]
    if service == "dsql":
        endpoints = [endpoint.rpartition(":")[0] for endpoint in endpoints]
    now = time.time() + int(lines("iam-clock")[0])

    host, separator, query = token.partition("/?")
    check(separator, "not a token")
    check(host.lower() in endpoints, "signed for another host or port")
    given = parameters(query)

    action = "connect"
    if service == "dsql":
        action = "DbConnectAdmin" if user == "admin" else "DbConnect"
    else:
        check(given.get("DBUser") == user, "signed for another user")
    check(given.get("Action") == action, f"the action is not {action}")
    proof = given.pop("X-Amz-Signature", "")
    wanted = {"Action", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"}
    if service == "rds-db":
        wanted.add("DBUser")
    if account["session_token"]:
        wanted.add("X-Amz-Security-Token")
    check(set(given) == wanted, "a parameter is missing or does not belong there")
    check(given["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256", "unknown algorithm")
    check(given["X-Amz-SignedHeaders"] == "host", "signs other headers than the host")
    check(given.get("X-Amz-Security-Token", "") == account["session_token"], "another session token")

    stamp = given["X-Amz-Date"]
    check(re.fullmatch("[0-9]{8}T[0-9]{6}Z", stamp), "the date is no date")
    scope = f"{stamp[:8]}/{account['region']}/{service}/aws4_request"
    check(given["X-Amz-Credential"] == f"{account['access_key']}/{scope}", "another access key, region or service")
    expires = given["X-Amz-Expires"]
    check(re.fullmatch("[0-9]{1,6}", expires), "the lifetime is no number")
    check(1 <= int(expires) <= LONGEST[service], "the lifetime is out of range")
    age = now - timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    check(age >= -SKEW, "signed in the future")
    check(age <= int(expires), "expired")

    right = signature(account["secret_key"], scope, stamp, host.lower(), given)
    check(hmac.compare_digest(right, proof), "the signature does not match")
    return age


def pam_sm_authenticate(pamh, flags, argv):
    try:
        user = pamh.get_user(None)
        answer = pamh.conversation(pamh.Message(pamh.PAM_PROMPT_ECHO_OFF, "Token: "))
        age = verify(user, answer.resp or "")
        print(f"IAM token taken: {int(age)} s old", file=sys.stderr, flush=True)
        return pamh.PAM_SUCCESS
    except Refused as refused:
        print(f"IAM token refused: {refused}", file=sys.stderr, flush=True)
    except Exception as error:  # A token that breaks the verifier is a wrong token. Its text may hold the token.
        print(f"IAM token refused: {type(error).__name__}", file=sys.stderr, flush=True)
    return pamh.PAM_AUTH_ERR


def pam_sm_setcred(pamh, flags, argv):
    return pamh.PAM_SUCCESS
