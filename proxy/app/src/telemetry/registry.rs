//! Counters, gauges and histograms whose handles are looked up once and then only added to.
//!
//! A family holds only so many series; what comes later shares one that is not shown, and is counted, so
//! hostile label values cost neither memory nor time. A series that nobody holds and that has not
//! changed for the retention time is dropped when metrics are read.

use linkerd_proxy_core::labels::Labels;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes both ways.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }
}

/// Bounds of a histogram and how they are printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    bounds: &'static [u64],
    unit: Unit,
}

/// How recorded values are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Unit {
    /// As they are.
    #[default]
    Integer,
    /// As floats.
    Float,
    /// Microseconds as seconds.
    Seconds,
}

impl Unit {
    fn print(self, value: u64) -> String {
        match self {
            Self::Integer => value.to_string(),
            Self::Float => format!("{:?}", value as f64),
            Self::Seconds => format!("{:?}", value as f64 / 1e6),
        }
    }
}

/// Counts of values by upper bound.
#[derive(Debug)]
pub struct Histogram {
    shape: Shape,
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(shape: Shape) -> Self {
        let counts = (0..=shape.bounds.len())
            .map(|_| AtomicU64::new(0))
            .collect();
        Self {
            shape,
            counts,
            sum: AtomicU64::new(0),
        }
    }

    /// Takes values in that were counted by the same bounds, and their sum.
    pub fn merge(&self, counts: &[u32], sum: u64) {
        for (own, more) in self.counts.iter().zip(counts) {
            if *more > 0 {
                own.fetch_add(u64::from(*more), Relaxed);
            }
        }
        if sum > 0 {
            self.sum.fetch_add(sum, Relaxed);
        }
    }

    /// Takes one value in.
    pub fn record(&self, value: u64) {
        let at = self.shape.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }
}

/// What a family is made of.
pub trait Metric: Send + Sync + 'static {
    /// The exposition type.
    const KIND: &'static str;
    /// Makes an empty one.
    fn make(shape: Shape) -> Self;
    /// Writes its samples.
    fn write(&self, out: &mut String, name: &str, labels: &Labels);
    /// Something that changes whenever the metric does.
    fn mark(&self) -> u64;
}

fn sample(out: &mut String, name: &str, labels: &Labels, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = if labels.as_str().is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{}}} {value}", labels.as_str())
    };
}

impl Metric for Counter {
    const KIND: &'static str = "counter";
    fn make(_: Shape) -> Self {
        Self::default()
    }
    fn write(&self, out: &mut String, name: &str, labels: &Labels) {
        // Prometheus reads floats, which are exact only this far.
        sample(out, name, labels, self.value() & ((1 << 53) - 1));
    }
    fn mark(&self) -> u64 {
        self.value()
    }
}

impl Metric for Gauge {
    const KIND: &'static str = "gauge";
    fn make(_: Shape) -> Self {
        Self::default()
    }
    fn write(&self, out: &mut String, name: &str, labels: &Labels) {
        sample(out, name, labels, self.0.load(Relaxed));
    }
    fn mark(&self) -> u64 {
        self.0.load(Relaxed) as u64
    }
}

impl Metric for Histogram {
    const KIND: &'static str = "histogram";
    fn make(shape: Shape) -> Self {
        Self::new(shape)
    }
    fn write(&self, out: &mut String, name: &str, labels: &Labels) {
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        for (i, count) in self.counts.iter().enumerate() {
            total += count.load(Relaxed);
            let le = self
                .shape
                .bounds
                .get(i)
                .map_or("+Inf".to_owned(), |bound| self.shape.unit.print(*bound));
            sample(out, &bucket, &labels.clone().with("le", &le), total);
        }
        sample(out, &format!("{name}_count"), labels, total);
        let sum = self.shape.unit.print(self.sum.load(Relaxed));
        sample(out, &format!("{name}_sum"), labels, sum);
    }
    fn mark(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

struct Series<M> {
    metric: Arc<M>,
    mark: u64,
    changed: Instant,
}

/// All series of one name.
pub struct Family<M> {
    name: String,
    help: &'static str,
    shape: Shape,
    series: Mutex<HashMap<Labels, Series<M>>>,
    series_max: usize,
    refused: Arc<Counter>,
    overflow: Arc<M>,
}

impl<M: Metric> Family<M> {
    fn new(
        name: &str,
        help: &'static str,
        shape: Shape,
        (series_max, refused): (usize, Arc<Counter>),
    ) -> Self {
        let overflow = Arc::new(M::make(shape));
        Self {
            name: name.to_owned(),
            help,
            shape,
            series: Mutex::default(),
            series_max,
            refused,
            overflow,
        }
    }

    /// The handle for `labels`; hold it rather than asking again.
    pub fn get(&self, labels: &Labels) -> Arc<M> {
        let mut series = lock(&self.series);
        if let Some(one) = series.get(labels) {
            return one.metric.clone();
        }
        if series.len() >= self.series_max {
            self.refused.add(1);
            return self.overflow.clone();
        }
        let metric = Arc::new(M::make(self.shape));
        let one = Series {
            metric: metric.clone(),
            mark: 0,
            changed: Instant::now(),
        };
        series.insert(labels.clone(), one);
        metric
    }
}

/// What the registry asks of a family.
trait Printed: Send + Sync {
    fn print(&self, out: &mut String, retain_idle: Duration);
}

impl<M: Metric> Printed for Family<M> {
    fn print(&self, out: &mut String, retain_idle: Duration) {
        let now = Instant::now();
        let mut series = lock(&self.series);
        series.retain(|_, one| {
            let mark = one.metric.mark();
            if mark != one.mark {
                one.mark = mark;
                one.changed = now;
            }
            Arc::strong_count(&one.metric) > 1 || now.duration_since(one.changed) < retain_idle
        });
        if series.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "# HELP {} {}\n# TYPE {} {}",
            self.name,
            self.help,
            self.name,
            M::KIND
        );
        for (labels, one) in series.iter() {
            one.metric.write(out, &self.name, labels);
        }
    }
}

/// A poisoned lock only means that a task panicked; counters stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All families.
pub struct Registry {
    families: Vec<Arc<dyn Printed>>,
    retain_idle: Duration,
    series_max: usize,
    refused: Arc<Counter>,
}

impl Registry {
    /// An empty registry, whose families hold `series_max` series each.
    pub fn new(retain_idle: Duration, series_max: usize) -> Self {
        let mut registry = Self {
            families: Vec::new(),
            retain_idle,
            series_max,
            refused: Arc::default(),
        };
        let refused = registry.counter(
            "l5dx_metric_series_refused_total",
            "Lookups of series for which their family had no place",
        );
        registry.refused = refused.get(&Labels::new());
        registry
    }

    /// Declares a family of counters.
    pub fn counter(&mut self, name: &str, help: &'static str) -> Arc<Family<Counter>> {
        self.declare(name, help, Shape::default())
    }

    /// Declares a family of gauges.
    pub fn gauge(&mut self, name: &str, help: &'static str) -> Arc<Family<Gauge>> {
        self.declare(name, help, Shape::default())
    }

    /// Declares a family of histograms with ascending upper bounds.
    pub fn histogram(
        &mut self,
        name: &str,
        help: &'static str,
        bounds: &'static [u64],
    ) -> Arc<Family<Histogram>> {
        let unit = Unit::Integer;
        self.declare(name, help, Shape { bounds, unit })
    }

    /// Declares a family of histograms that record microseconds and print seconds.
    pub fn seconds(
        &mut self,
        name: &str,
        help: &'static str,
        bounds: &'static [u64],
    ) -> Arc<Family<Histogram>> {
        let unit = Unit::Seconds;
        self.declare(name, help, Shape { bounds, unit })
    }

    /// Declares a family of histograms of bytes.
    pub fn bytes(
        &mut self,
        name: &str,
        help: &'static str,
        bounds: &'static [u64],
    ) -> Arc<Family<Histogram>> {
        let unit = Unit::Float;
        self.declare(name, help, Shape { bounds, unit })
    }

    fn declare<M: Metric>(
        &mut self,
        name: &str,
        help: &'static str,
        shape: Shape,
    ) -> Arc<Family<M>> {
        let limit = (self.series_max, self.refused.clone());
        let family = Arc::new(Family::new(name, help, shape, limit));
        self.families.push(family.clone());
        family
    }

    /// Appends all series to `out`.
    pub fn render(&self, out: &mut String) {
        for family in &self.families {
            family.print(out, self.retain_idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(registry: &Registry) -> String {
        let mut out = String::new();
        registry.render(&mut out);
        out
    }

    #[test]
    fn histograms_are_cumulative() {
        let mut registry = Registry::new(Duration::from_secs(60), 20_000);
        let family = registry.histogram("latency_ms", "Time.", &[1, 10]);
        let one = family.get(&Labels::new().with("a", "b"));
        for value in [0, 1, 2, 10, 11] {
            one.record(value);
        }
        let expected = "# HELP latency_ms Time.\n# TYPE latency_ms histogram\n\
            latency_ms_bucket{a=\"b\",le=\"1\"} 2\nlatency_ms_bucket{a=\"b\",le=\"10\"} 4\n\
            latency_ms_bucket{a=\"b\",le=\"+Inf\"} 5\nlatency_ms_count{a=\"b\"} 5\nlatency_ms_sum{a=\"b\"} 24\n";
        let text = rendered(&registry);
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn seconds_are_printed_as_floats() {
        let mut registry = Registry::new(Duration::from_secs(60), 20_000);
        let family = registry.seconds("d_seconds", "Time.", &[50_000, 1_000_000]);
        family.get(&Labels::new()).record(50_000);
        let text = rendered(&registry);
        assert!(text.contains("d_seconds_bucket{le=\"0.05\"} 1\n"), "{text}");
        assert!(text.contains("{le=\"1.0\"} 1\n") && text.contains("d_seconds_sum 0.05\n"));
    }

    #[test]
    fn idle_series_go_and_held_ones_stay() {
        let mut registry = Registry::new(Duration::ZERO, 20_000);
        let family = registry.counter("hits_total", "Hits.");
        let held = family.get(&Labels::new().with("who", "held"));
        family.get(&Labels::new().with("who", "gone")).add(1);
        held.add(2);
        let text = rendered(&registry);
        assert!(text.contains("hits_total{who=\"held\"} 2"), "{text}");
        assert!(!text.contains("gone"), "{text}");
    }

    #[test]
    fn too_many_series_share_one_that_is_not_shown() {
        let mut registry = Registry::new(Duration::from_secs(60), 100);
        let family = registry.counter("hits_total", "Hits.");
        for i in 0..110 {
            family.get(&Labels::new().with_display("i", i)).add(1);
        }
        let text = rendered(&registry);
        let hits = text.lines().filter(|line| line.starts_with("hits_total{"));
        assert_eq!(100, hits.count(), "{text}");
        assert!(
            text.contains("l5dx_metric_series_refused_total 10\n"),
            "{text}"
        );
    }
}
