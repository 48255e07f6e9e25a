//! Policies and requests of `tests/vectors/authorization.json`, decided as another program would.

use linkerd_proxy_testkit::decide::{decide, Case};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    case: Case,
    /// As `decide` says it; `no` where any refusal will do.
    expected: Vec<String>,
}

#[test]
fn decisions_are_those_of_the_oracle() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/authorization.json"
    );
    let text = std::fs::read_to_string(path).expect("the vectors are in the repository");
    let vectors: Vec<Vector> = serde_json::from_str(&text).expect("valid");
    assert!(!vectors.is_empty());
    for vector in &vectors {
        let decided = decide(&vector.case).expect("a valid policy");
        assert_eq!(vector.expected.len(), decided.len());
        for ((expected, decided), request) in vector
            .expected
            .iter()
            .zip(decided)
            .zip(&vector.case.requests)
        {
            let same = *expected == decided || (expected == "no" && !decided.starts_with("allow"));
            assert!(same, "{expected}, not {decided}: {request:?}");
        }
    }
}
