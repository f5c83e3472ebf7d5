#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    countersign_fuzz_checks::pkcs11_context_pin(bytes);
});
