//! Declaring metrics and finding their resolved handles again without a lock.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry,
};

/// Declares metrics that share one constant label (or none), so that they can be taken out together when
/// what the label names is gone.
pub(super) struct Group {
    registry: Registry,
    label: Option<(&'static str, String)>,
    collectors: Vec<Box<dyn Collector>>,
}

impl Group {
    pub(super) fn new(registry: &Registry, label: Option<(&'static str, &str)>) -> Self {
        Self {
            registry: registry.clone(),
            label: label.map(|(name, value)| (name, value.to_owned())),
            collectors: Vec::new(),
        }
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let vec = IntCounterVec::new(self.opts(name, help), labels);
        self.add(vec.expect("names and labels of metrics are constants, checked by a test"))
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let vec = IntGaugeVec::new(self.opts(name, help), labels);
        self.add(vec.expect("names and labels of metrics are constants, checked by a test"))
    }

    pub(super) fn float_gauge(&mut self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        let vec = GaugeVec::new(self.opts(name, help), labels);
        self.add(vec.expect("names and labels of metrics are constants, checked by a test"))
    }

    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        let vec = HistogramVec::new(opts, labels);
        self.add(vec.expect("names and labels of metrics are constants, checked by a test"))
    }

    /// Takes the group's series out of the registry. Handles in use go on counting, unseen.
    pub(super) fn unregister(&self) {
        for collector in &self.collectors {
            let known = self.registry.unregister(Box::new(Described(
                collector.desc().into_iter().cloned().collect(),
            )));
            debug_assert!(known.is_ok(), "a group is unregistered once");
        }
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        let opts = Opts::new(name, help);
        match &self.label {
            Some((name, value)) => opts.const_label(*name, value),
            None => opts,
        }
    }

    fn add<C: Collector + Clone + 'static>(&mut self, collector: C) -> C {
        self.registry
            .register(Box::new(collector.clone()))
            .expect("each metric is declared once, and a group once for each name");
        self.collectors.push(Box::new(collector.clone()));
        collector
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// The registry finds what to take out by its descriptions alone.
struct Described(Vec<prometheus::core::Desc>);

impl Collector for Described {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        Vec::new()
    }
}

/// A handle that is resolved when it is first used: after that, one load.
#[derive(Debug)]
pub(super) struct Handle<T>(OnceLock<T>);

impl<T> Default for Handle<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Handle<T> {
    pub(super) fn with(&self, resolve: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(resolve)
    }
}

impl Handle<IntCounter> {
    pub(super) fn of(&self, vec: &IntCounterVec, labels: &[&str]) -> &IntCounter {
        self.0.get_or_init(|| vec.with_label_values(labels))
    }
}

impl Handle<Histogram> {
    pub(super) fn of(&self, vec: &HistogramVec, labels: &[&str]) -> &Histogram {
        self.0.get_or_init(|| vec.with_label_values(labels))
    }
}

/// A small sorted map that is read without a lock and copied when it grows, which it does once for each
/// configured name.
#[derive(Debug)]
pub(super) struct Table<K, V>(ArcSwap<Vec<(K, Arc<V>)>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<K: Clone, V> Table<K, V> {
    /// Calls `read` with the value at the place that `order` finds, made by `make` if there is none.
    pub(super) fn with<R>(
        &self,
        order: impl Fn(&K) -> Ordering,
        make: impl Fn() -> (K, Arc<V>),
        read: impl FnOnce(&Arc<V>) -> R,
    ) -> R {
        let rows = self.0.load();
        if let Ok(at) = rows.binary_search_by(|(key, _)| order(key)) {
            return read(&rows[at].1);
        }
        drop(rows);
        let (key, made) = make();
        self.0
            .rcu(|rows| match rows.binary_search_by(|(key, _)| order(key)) {
                Ok(_) => Arc::clone(rows),
                Err(at) => {
                    let mut grown = Vec::clone(rows);
                    grown.insert(at, (key.clone(), Arc::clone(&made)));
                    Arc::new(grown)
                }
            });
        let rows = self.0.load();
        match rows.binary_search_by(|(key, _)| order(key)) {
            Ok(at) => read(&rows[at].1),
            // Taken out meanwhile: its name has just left the config.
            Err(_) => read(&made),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.load().len()
    }

    pub(super) fn contains(&self, order: impl Fn(&K) -> Ordering) -> bool {
        self.0
            .load()
            .binary_search_by(|(key, _)| order(key))
            .is_ok()
    }

    pub(super) fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.0.rcu(|rows| {
            let kept = rows.iter().filter(|(key, _)| keep(key)).cloned();
            Arc::new(kept.collect::<Vec<_>>())
        });
    }
}

/// Takes out the series whose `label` has this value. Slow: for changes of config.
pub(super) fn forget(vec: &IntCounterVec, label: &str, value: &str) {
    let desc = vec.desc();
    let Some(names) = desc.first().map(|desc| &desc.variable_labels) else {
        return;
    };
    for family in vec.collect() {
        for metric in family.get_metric() {
            let of = |name: &str| {
                let pairs = metric.get_label();
                let pair = pairs.iter().find(|pair| pair.name() == name);
                pair.map_or("", |pair| pair.value())
            };
            if of(label) != value {
                continue;
            }
            let values: Vec<&str> = names.iter().map(|name| of(name)).collect();
            let known = vec.remove_label_values(&values);
            debug_assert!(known.is_ok(), "a series just collected has its labels");
        }
    }
}
