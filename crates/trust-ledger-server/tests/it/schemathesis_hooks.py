"""Bodies that Schemathesis cannot make by itself: anything at all, since what is no certificate must be refused."""

import schemathesis


@schemathesis.serializer("application/pkix-cert", "application/pkix-crl", "application/pem-certificate-chain",
                         "application/x-pem-file", "application/x-ndjson")
def as_it_is(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
