//! Every committed input of every target, and pieces of it, with the stable toolchain.
#![allow(missing_docs, clippy::unwrap_used)]

use std::panic;
use std::path::Path;

use linkerd_proxy_fuzz::TARGETS;

#[test]
fn nothing_found_before_is_found_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in TARGETS {
        let mut count = 0;
        for file in std::fs::read_dir(folder.join(name)).unwrap() {
            let path = file.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            // A prefix of an input is one too, and often a worse one.
            for eighth in [8, 1, 3, 5, 7] {
                let part = &input[..input.len() * eighth / 8];
                if panic::catch_unwind(|| run(part)).is_err() {
                    panic!("{name}: {eighth} eighths of {}", path.display());
                }
            }
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
    }
}

#[test]
fn every_corpus_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            linkerd_proxy_fuzz::target(name.to_str().unwrap()).is_some(),
            "{name:?}"
        );
    }
}
