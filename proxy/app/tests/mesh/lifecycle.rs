//! Probes, shutdown, and what a proxy does without its control plane.

use http::{StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::echo::Kind;

use crate::fixture::*;

#[test]
fn probes_answer_and_a_signal_ends_the_proxy_cleanly() {
    let Some(mut mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for path in ["/live", "/ready"] {
        assert_eq!(
            StatusCode::OK,
            mesh.server
                .admin(path)
                .expect("the admin server answers")
                .status,
            "{path}"
        );
    }
    assert_eq!(
        StatusCode::OK,
        mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"))
            .status
    );
    assert!(mesh.client.terminate().success());
    assert!(mesh.server.terminate().success());
}

#[test]
fn one_certificate_and_one_discovery_serve_many_connections() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for _ in 0..20 {
        assert_eq!(
            StatusCode::OK,
            mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"))
                .status
        );
    }
    let calls = mesh.control.calls();
    let count = |text: &str| calls.iter().filter(|call| call.starts_with(text)).count();
    assert_eq!(1, count(&format!("Certify {CLIENT_ID}")), "{calls:?}");
    assert_eq!(1, count(&format!("Watch {SERVICE}")), "{calls:?}");
    assert_eq!(1, count(&format!("Get {AUTHORITY}")), "{calls:?}");
}

#[test]
fn several_workers_share_the_work() {
    let environment = [("CORES", "2")];
    let authority = linkerd_proxy_testkit::authority::Authority::generate();
    let Some(mesh) = Mesh::start_with(world(), authority, &environment) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for version in [Version::HTTP_11, Version::HTTP_2].repeat(10) {
                    let answer = mesh.send(From::Meshed, SERVICE, get(version, "/"));
                    assert_eq!(StatusCode::OK, answer.status);
                }
            });
        }
    });
}

#[test]
fn known_destinations_work_while_the_control_plane_is_stuck() {
    let settings = [("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "1s")];
    let Some(mesh) = Mesh::start_with(world(), Authority::generate(), &settings) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let asked = || {
        let calls = mesh.control.calls();
        let watch = format!("Watch {SERVICE}");
        calls.iter().filter(|call| **call == watch).count()
    };
    let send = || mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
    assert_eq!(StatusCode::OK, send().status);
    mesh.control.get_stuck();
    let before = asked();
    // What nobody uses is forgotten after a while and has to be asked for again.
    eventually("the destination was asked for again", || {
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(StatusCode::OK, send().status, "while nobody answers");
        asked() > before
    });
}

#[test]
fn trust_anchors_may_come_from_a_file() {
    if !linkerd_proxy_testkit::namespace::permitted() {
        return;
    }
    let (old, new) = (Authority::generate(), Authority::generate());
    let file = std::env::temp_dir().join(format!("anchors-{}.pem", std::process::id()));
    let both = format!("{}{}", old.anchors(), new.anchors());
    std::fs::write(&file, both).expect("the temporary folder is writable");
    let path = file.to_string_lossy().into_owned();
    // The certificates come from an authority that only the file names.
    let pem = old.anchors().to_owned();
    let settings = [
        ("IDENTITY_TRUST_ANCHORS", pem.as_str()),
        ("IDENTITY_TRUST_ANCHORS_FILE", path.as_str()),
    ];
    let mesh = Mesh::start_with(world(), new, &settings).expect("permitted");
    mesh.server.serve(PORT, Kind::Http);
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
    assert_eq!(StatusCode::OK, answer.status, "{answer:?}");
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_proxy_out_of_descriptors_sheds_and_recovers() {
    use linkerd_proxy_testkit::pod::PROXY_UID;
    use tokio::io::AsyncReadExt;
    let few = Some(128);
    let Some(mesh) = Mesh::start_limited(world(), Authority::generate(), &[], few) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let send = || {
        let request = get(Version::HTTP_11, "/");
        let to = POD.parse().expect("a literal address");
        let sent = async move { linkerd_proxy_testkit::client::send(to, request).await };
        mesh.client.namespace.block_on(Some(PROXY_UID), sent)
    };
    assert_eq!(StatusCode::OK, send().expect("an answer").status);
    let refused = mesh.client.namespace.block_on(Some(PROXY_UID), async {
        let mut held = Vec::new();
        for _ in 0..200 {
            held.extend(tokio::net::TcpStream::connect(POD).await);
        }
        // Whoever finds no place learns that, instead of waiting in the queue.
        let mut refused = 0;
        for socket in &mut held[100..] {
            let mut byte = [0];
            let read = socket.read(&mut byte);
            let ended = tokio::time::timeout(linkerd_proxy_testkit::client::TIMEOUT, read).await;
            refused += usize::from(matches!(ended, Ok(Ok(0) | Err(_))));
        }
        refused
    });
    assert_eq!(100, refused);
    eventually("requests pass again", || {
        send().is_ok_and(|answer| answer.status == StatusCode::OK)
    });
}

/// Pods that all reconnect at once after a roll-out.
#[test]
#[ignore = "takes half a minute and 50,000 descriptors"]
fn ten_thousand_simultaneous_connections_are_all_served() {
    use linkerd_proxy_testkit::pod::PROXY_UID;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const CONNECTIONS: usize = 10_000;
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let began = std::time::Instant::now();
    let served = mesh.client.namespace.block_on(Some(PROXY_UID), async {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            all.spawn(async {
                let mut socket = tokio::net::TcpStream::connect(POD).await.ok()?;
                let request = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n";
                socket.write_all(request).await.ok()?;
                let mut head = [0; 12];
                socket.read_exact(&mut head).await.ok()?;
                (&head == b"HTTP/1.1 200").then_some(socket)
            });
        }
        // Kept until the last is served, so that all are open at once.
        let mut held = Vec::new();
        while let Some(done) = all.join_next().await {
            held.extend(done.ok().flatten());
        }
        held.len()
    });
    eprintln!("{served} of {CONNECTIONS} served in {:?}", began.elapsed());
    assert_eq!(CONNECTIONS, served);
}
