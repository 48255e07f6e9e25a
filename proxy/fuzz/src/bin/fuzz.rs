//! libFuzzer's entry: explores the target that `FUZZ_TARGET` names.
#![no_main]

use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let run = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        linkerd_proxy_fuzz::target(&name).expect("FUZZ_TARGET names a target")
    });
    run(input);
});
