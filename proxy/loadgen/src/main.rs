//! `loadgen`: HTTP/1 and HTTP/2 load on one thread, closed or open loop, one line of JSON at the end.
//!
//! Closed loop (no `--rate`): every worker sends its next request when the last was answered.
//! Open loop (`--rate`): every worker has a fixed schedule, and latency counts from the intended send
//! time, so a stall of the target shows in all requests that it held up.
//! Workers are connections × streams; HTTP/1 has one stream a connection.
//!
//! `loadgen control` holds gRPC streams instead, `loadgen bytes` moves bytes; see the modules.

mod args;
mod bytes;
mod control;
mod histogram;
mod http1;
mod http2;
mod pace;
mod tally;

use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use args::{Args, Version};
use pace::Pace;
use tally::Tally;
use tokio::task::LocalSet;

fn main() -> ExitCode {
    let print = |line: &str| {
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    let mut words = std::env::args().skip(1).peekable();
    let outcome = if words.next_if(|word| word == "control").is_some() {
        control::parse(words).and_then(|options| control::run(&options, &print))
    } else if words.next_if(|word| word == "bytes").is_some() {
        bytes::parse(words).and_then(|options| bytes::run(&options, &print))
    } else {
        args::parse(words).and_then(|args| run(&args).map(|line| print(&line)))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "loadgen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let tasks = LocalSet::new();
    let tally = runtime.block_on(tasks.run_until(drive(args)))?;
    let mut report = tally.report();
    report["version"] = args.version.name().into();
    report["connections"] = args.connections.into();
    report["streams"] = args.streams.into();
    report["rate"] = args.rate.into();
    report["duration_s"] = args.duration.as_secs_f64().into();
    Ok(report.to_string())
}

async fn drive(args: &Args) -> Result<Rc<Tally>, String> {
    let start = Instant::now();
    let tally = Rc::new(Tally::new(
        start + args.warmup,
        start + args.warmup + args.duration,
    ));
    let workers = args.connections * args.streams;
    let mut tasks = Vec::new();
    for connection in 0..args.connections {
        let pace = |stream| {
            Pace::new(
                args.rate,
                workers,
                connection * args.streams + stream,
                start,
            )
        };
        match args.version {
            Version::Http1 => {
                let (tally, pace) = (tally.clone(), pace(0)?);
                tasks.push(tokio::task::spawn_local(http1::work(
                    args.clone(),
                    tally,
                    pace,
                )));
            }
            Version::Http2 => {
                let paces = (0..args.streams).map(pace).collect::<Result<Vec<_>, _>>()?;
                tasks.push(tokio::task::spawn_local(http2::work(
                    args.clone(),
                    tally.clone(),
                    paces,
                )));
            }
        }
    }
    for task in tasks {
        task.await
            .map_err(|error| format!("a worker broke: {error}"))??;
    }
    Ok(tally)
}
