//! A SOPS file of format json that may be anything: it is refused, or gives the value of the one that was written.

#![no_main]

libfuzzer_sys::fuzz_target!(|content: &[u8]| {
    strongroom::fuzzing::read("json", content);
});
