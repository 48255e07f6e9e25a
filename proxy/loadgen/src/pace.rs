//! When a worker sends: at once, or by its schedule.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    timerfd_create, timerfd_settime, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags,
    Timespec,
};
use tokio::io::unix::AsyncFd;

/// A worker's schedule. A timer of the runtime would be late by up to a millisecond; a timerfd is not.
pub(crate) enum Pace {
    Closed,
    Open {
        next: Instant,
        interval: Duration,
        timer: AsyncFd<OwnedFd>,
    },
}

impl Pace {
    /// Worker `number` of `workers` that together send `rate` requests a second from `start` on.
    pub(crate) fn new(
        rate: Option<f64>,
        workers: u32,
        number: u32,
        start: Instant,
    ) -> Result<Self, String> {
        let Some(rate) = rate else {
            return Ok(Pace::Closed);
        };
        let interval = Duration::from_secs_f64(f64::from(workers) / rate);
        let offset = interval.mul_f64(f64::from(number) / f64::from(workers));
        let describe = |error: io::Error| format!("cannot make a timer: {error}");
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .map_err(|errno| describe(errno.into()))?;
        // Deprecated for types that may lend another descriptor later; an OwnedFd does not.
        #[allow(deprecated)]
        let timer = AsyncFd::new(timer).map_err(describe)?;
        Ok(Pace::Open {
            next: start + offset,
            interval,
            timer,
        })
    }

    /// Waits for the next request's turn and returns its intended send time.
    pub(crate) async fn turn(&mut self) -> io::Result<Instant> {
        let Pace::Open {
            next,
            interval,
            timer,
        } = self
        else {
            return Ok(Instant::now());
        };
        let intended = *next;
        *next += *interval;
        let wait = intended.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            let value = Timespec {
                tv_sec: wait.as_secs().cast_signed(),
                tv_nsec: wait.subsec_nanos().into(),
            };
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let setting = Itimerspec {
                it_interval: zero,
                it_value: value,
            };
            timerfd_settime(&*timer, TimerfdTimerFlags::empty(), &setting)?;
            let mut count = [0; 8];
            loop {
                let mut ready = timer.readable().await?;
                match ready.try_io(|fd| rustix::io::read(fd, &mut count).map_err(io::Error::from)) {
                    Ok(read) => break read.map(drop)?,
                    Err(_not_ready) => {}
                }
            }
        }
        Ok(intended)
    }
}
