//! Success or failure of a response.

/// How one exchange ended, as far as the wire shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// HTTP status; 0 when no response head came.
    pub status: u16,
    /// gRPC status code, if the request was gRPC.
    pub grpc: Option<u16>,
    /// Whether Linkerd counts it as a success.
    pub success: bool,
}

/// gRPC codes that count as failures: UNKNOWN, DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL,
/// UNAVAILABLE and DATA_LOSS.
///
/// Source: linkerd2-proxy linkerd/app/core/src/classify.rs (behaviour).
pub const GRPC_FAILURES: [u16; 6] = [2, 4, 7, 13, 14, 15];

/// Whether a `content-type` value announces gRPC.
pub fn is_grpc(content_type: Option<&[u8]>) -> bool {
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// Classifies a finished response.
///
/// `grpc_status` is the header or trailer value; a gRPC response without any counts as success with
/// code 2, unless the HTTP status says otherwise.
pub fn classify(status: u16, grpc_request: bool, grpc_status: Option<&[u8]>) -> Class {
    let http_ok = !(500..600).contains(&status);
    if !grpc_request {
        return Class {
            status,
            grpc: None,
            success: http_ok,
        };
    }
    match grpc_status.and_then(parse_code) {
        Some(code) => Class {
            status,
            grpc: Some(code),
            success: !GRPC_FAILURES.contains(&code),
        },
        None => Class {
            status,
            grpc: Some(2),
            success: http_ok,
        },
    }
}

/// The code in a `grpc-status` value.
pub fn parse_code(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// The name of a gRPC code in metrics; `UNKNOWN` for those that gRPC does not define.
pub fn code_name(code: u16) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::from(code)).copied().unwrap_or("UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_fails_from_500() {
        for (status, success) in [
            (200, true),
            (404, true),
            (499, true),
            (500, false),
            (599, false),
        ] {
            assert_eq!(success, classify(status, false, None).success, "{status}");
        }
    }

    #[test]
    fn grpc_uses_its_own_code() {
        for (code, success) in [
            ("0", true),
            ("2", false),
            ("5", true),
            ("13", false),
            ("14", false),
        ] {
            let class = classify(200, true, Some(code.as_bytes()));
            assert_eq!(success, class.success, "{code}");
            assert_eq!(code.parse().ok(), class.grpc);
        }
    }

    #[test]
    fn grpc_without_code_is_a_success_with_code_2() {
        let class = classify(200, true, None);
        assert_eq!(
            Class {
                status: 200,
                grpc: Some(2),
                success: true
            },
            class
        );
    }
}
