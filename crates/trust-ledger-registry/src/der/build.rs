//! DER put together by hand, for tests of what no well-behaved program writes.

/// One element with the shortest length.
pub(crate) fn element(tag: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut whole = vec![tag];
    if content.len() < 0x80 {
        whole.push(content.len() as u8);
    } else {
        let octets = content.len().to_be_bytes();
        let significant = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
        whole.push(0x80 | significant.len() as u8);
        whole.extend_from_slice(significant);
    }
    whole.extend_from_slice(content);
    whole
}

/// A SEQUENCE of these elements.
pub(crate) fn sequence(elements: &[&[u8]]) -> Vec<u8> {
    element(super::tag::SEQUENCE, elements.concat())
}

/// A Name of one common name.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    let attribute = sequence(&[&element(super::tag::OID, [0x55, 0x04, 0x03]), &element(0x0c, common_name)]);
    sequence(&[&element(super::tag::SET, attribute)])
}

/// A certificate or CRL extension.
pub(crate) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { element(super::tag::BOOLEAN, [0xff]) } else { Vec::new() };
    sequence(&[&element(super::tag::OID, id), &flag, &element(super::tag::OCTET_STRING, value)])
}
