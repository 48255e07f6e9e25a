//! One peer's bytes, whole and cut into pieces of sizes that the input chooses: the engine writes
//! the same and ends the same. Heads end with a blank line, so that both ways see their end.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use linkerd_proxy_core::engine::{Engine, Event, HeadEdit, Io, Limits, Protocol, Role};

fn run(protocol: Protocol, bytes: &[u8], size: usize) -> (Vec<u8>, Vec<Vec<u8>>, Io) {
    let now = Instant::now();
    let mut engine = Engine::new(Limits::default(), now);
    let front = engine.open(Role::Server, protocol, now);
    let back = engine.open(Role::Client, Protocol::H2, now);
    let (mut written, mut paths) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        engine.recv(front, piece, now);
        while let Some(event) = engine.poll_event() {
            if let Event::Request { stream, .. } = event {
                let path = engine.request(stream).map(|head| head.path().to_vec());
                paths.extend(path);
                let edit = HeadEdit::default();
                if engine.forward(stream, back, &edit).is_err() {
                    let _ = engine.respond(stream, 503, &[], b"");
                }
            }
        }
        while let Some(conn) = engine.poll_dirty() {
            if conn == front {
                written.extend_from_slice(engine.out(conn));
            }
            let count = engine.out(conn).len();
            engine.sent(conn, count, now);
        }
    }
    (written, paths, engine.io(front))
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    let (protocol, mut all) = if choice & 1 == 0 {
        (Protocol::H1, bytes.to_vec())
    } else {
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        (Protocol::H2, [hello, bytes].concat())
    };
    if protocol == Protocol::H1 {
        all.extend(b"\r\n\r\n\r\n\r\n");
    }
    let whole = run(protocol, &all, all.len());
    assert_eq!(
        whole,
        run(protocol, &all, usize::from(choice >> 1) % 17 + 1)
    );
});
