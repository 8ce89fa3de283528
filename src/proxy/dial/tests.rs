//! Names that fail, hang and move, on paused time and without a network; and which addresses are public.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::sync::atomic::AtomicUsize;

use futures_util::future::{BoxFuture, join_all, ready};
use futures_util::{FutureExt, poll};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::advance;

use super::*;
use crate::keys::AiType;
use crate::policy::health::HealthRules;
use crate::policy::route::{AiAccount, Origin, ResourceKind, Timeouts, UsageInjection};
use crate::protocol::Dialect;
use crate::proxy::resolve::DNS_TIMEOUT;
use crate::telemetry::metrics::Metrics;

const SECOND: Duration = Duration::from_secs(1);

/// What the resolver does about a name.
#[derive(Clone)]
enum Manner {
    Knows(&'static [&'static str]),
    Fails,
    /// Answers with the first address once it is told to.
    Hangs(Arc<Notify>),
}

/// A resolver that a test can change its mind for.
#[derive(Default)]
struct Resolver {
    names: Mutex<HashMap<String, Manner>>,
    asked: AtomicUsize,
}

impl Resolver {
    fn says(&self, name: &str, manner: Manner) {
        self.names.lock().insert(name.to_owned(), manner);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Lookup for Arc<Resolver> {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let manner = self.names.lock().get(host).cloned();
        match manner {
            Some(Manner::Knows(list)) => {
                let list = list.iter().map(|text| text.parse().unwrap()).collect();
                ready(Ok(list)).boxed()
            }
            Some(Manner::Fails) => ready(Err(io::Error::other("SERVFAIL"))).boxed(),
            Some(Manner::Hangs(word)) => async move {
                word.notified().await;
                Ok(vec!["8.8.8.8".parse().unwrap()])
            }
            .boxed(),
            None => pending().boxed(),
        }
    }
}

fn start() -> (Arc<Resolver>, Dialer) {
    let resolver = Arc::new(Resolver::default());
    let dialer = Dialer::with_lookup(Box::new(Arc::clone(&resolver)));
    (resolver, dialer)
}

fn resource(name: &str) -> Arc<Resource> {
    Arc::new(Resource {
        name: name.into(),
        id: Uuid::new_v5(&Uuid::nil(), name.as_bytes()),
        origin: Origin {
            tls: false,
            host: name.into(),
            server_name: name.into(),
            port: 80,
            authority: HeaderValue::from_static("h"),
            base_path: "".into(),
            reach: Reach::Public,
            ca_file: None,
        },
        timeouts: Timeouts {
            connect: SECOND,
            tls: SECOND,
            first_byte: SECOND,
            idle: SECOND,
            pool_idle: SECOND,
        },
        health_rules: HealthRules::default(),
        health: Arc::default(),
        kind: ResourceKind::Ai(AiAccount {
            dialect: Dialect::OpenAi,
            provider: AiType::Other,
            api_key: None,
            signing: None,
            usage_injection: UsageInjection::Auto,
            responses: false,
        }),
        meters: Metrics::new().resource(name),
    })
}

/// The addresses that requests go to, or the fault that they meet.
async fn goes_to(dialer: &Dialer, resource: &Arc<Resource>) -> Result<Vec<String>, Option<Fault>> {
    let peers = dialer
        .peers(resource)
        .await
        .map_err(|error| error.fault())?;
    Ok(peers
        .list
        .iter()
        .map(|peer| peer.address.ip().to_string())
        .collect())
}

/// Lets so much time pass, with the rounds that `app` makes meanwhile.
async fn pass(dialer: &Dialer, time: Duration) {
    const ROUND: Duration = Duration::from_secs(5);
    let until = Instant::now() + time;
    while Instant::now() < until {
        advance(ROUND).await;
        dialer.refresh().await;
    }
}

#[test]
fn metadata_is_reached_by_its_own_allowance_alone() {
    for (text, private, metadata) in [
        ("169.254.169.254", false, true),
        ("169.254.170.2", false, true),
        ("::ffff:169.254.169.254", false, true),
        ("fd00:ec2::254", false, true),
        ("fe80::1", false, true),
        ("127.0.0.1", true, true),
        ("10.0.0.1", true, false),
        ("fd00::1", true, false),
        ("8.8.8.8", true, false),
    ] {
        let ip = text.parse().unwrap();
        assert_eq!(may_reach(Reach::Private, ip), private, "{text}");
        assert_eq!(may_reach(Reach::Metadata, ip), metadata, "{text}");
    }
    let link_local = "169.254.169.254".parse().unwrap();
    assert!(!may_reach(Reach::Public, link_local));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_at_once_ask_once_and_share_one_pool() {
    let (resolver, dialer) = start();
    let word = Arc::new(Notify::new());
    resolver.says("a", Manner::Hangs(Arc::clone(&word)));
    let resource = resource("a");
    let mut all = join_all((0..100).map(|_| dialer.peers(&resource)));
    assert!(poll!(&mut all).is_pending());
    word.notify_one();
    let all: Vec<Arc<Peers>> = all.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(resolver.asked(), 1);
    assert!(all.iter().all(|peers| Arc::ptr_eq(peers, &all[0])));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_fails_at_first_works_as_soon_as_it_does() {
    let (resolver, dialer) = start();
    let resource = resource("a");
    resolver.says("a", Manner::Fails);
    for _ in 0..3 {
        assert_eq!(goes_to(&dialer, &resource).await, Err(Some(Fault::Dns)));
    }
    for nowhere in [&[][..], &["10.0.0.1"]] {
        resolver.says("a", Manner::Knows(nowhere));
        assert_eq!(goes_to(&dialer, &resource).await, Err(Some(Fault::Dns)));
    }
    resolver.says("a", Manner::Knows(&["8.8.8.8"]));
    assert_eq!(goes_to(&dialer, &resource).await.unwrap(), ["8.8.8.8"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_stands_in_for_a_resolver_that_fails_up_to_its_maximum() {
    let (log, _guard) = capture();
    let (resolver, dialer) = start();
    let resource = resource("a");
    resolver.says("a", Manner::Knows(&["8.8.8.8"]));
    goes_to(&dialer, &resource).await.unwrap();
    pass(&dialer, DNS_FRESH * 2).await;
    let asked = resolver.asked();
    assert!((2..=3).contains(&asked), "{asked} lookups in a minute");
    resolver.says("a", Manner::Fails);
    pass(&dialer, DNS_STALE_MAX.saturating_sub(DNS_FRESH * 2)).await;
    assert_eq!(goes_to(&dialer, &resource).await.unwrap(), ["8.8.8.8"]);
    // Said once, though it was asked again and again.
    assert!(resolver.asked() > asked + 100);
    let said = || log.lock().matches("using the last address").count();
    assert_eq!(said(), 1, "{}", log.lock());
    pass(&dialer, DNS_FRESH * 2).await;
    assert_eq!(goes_to(&dialer, &resource).await, Err(Some(Fault::Dns)));
    resolver.says("a", Manner::Knows(&["8.8.4.4"]));
    assert_eq!(goes_to(&dialer, &resource).await.unwrap(), ["8.8.4.4"]);
    pass(&dialer, DNS_FRESH * 2).await;
    resolver.says("a", Manner::Fails);
    pass(&dialer, DNS_FRESH * 2).await;
    assert_eq!(said(), 2);
    resolver.says("a", Manner::Knows(&["8.8.4.4"]));
    pass(&dialer, DNS_FRESH).await;
    assert!(log.lock().contains("name resolved again"));
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_holds_nobody_for_longer_than_its_time() {
    let (resolver, dialer) = start();
    let word = Arc::new(Notify::new());
    resolver.says("a", Manner::Hangs(Arc::clone(&word)));
    resolver.says("b", Manner::Knows(&["8.8.8.8"]));
    let (hangs, other) = (resource("a"), resource("b"));
    let began = Instant::now();
    let mut waits = Box::pin(goes_to(&dialer, &hangs));
    assert!(poll!(&mut waits).is_pending());
    advance(DNS_TIMEOUT / 2).await;
    // Who comes later waits no longer than the first.
    let both = tokio::join!(waits, goes_to(&dialer, &hangs));
    assert_eq!(both, (Err(Some(Fault::Dns)), Err(Some(Fault::Dns))));
    assert!(
        began.elapsed() < DNS_TIMEOUT + SECOND,
        "{:?}",
        began.elapsed()
    );
    // The lookup still runs: no second one takes a second thread, and nobody waits for it.
    for _ in 0..100 {
        let at_once = goes_to(&dialer, &hangs).now_or_never();
        assert_eq!(at_once, Some(Err(Some(Fault::Dns))));
    }
    assert_eq!(resolver.asked(), 1);
    let other = goes_to(&dialer, &other).now_or_never();
    assert_eq!(other.unwrap().unwrap(), ["8.8.8.8"]);
    // What it says at last is too old; it may be asked again.
    word.notify_one();
    resolver.says("a", Manner::Knows(&["8.8.4.4"]));
    assert_eq!(goes_to(&dialer, &hangs).await.unwrap(), ["8.8.4.4"]);
}

#[tokio::test(start_paused = true)]
async fn with_an_answer_at_hand_nobody_waits_for_a_resolver_that_hangs() {
    let (resolver, dialer) = start();
    let (hangs, other) = (resource("a"), resource("b"));
    for name in ["a", "b"] {
        resolver.says(name, Manner::Knows(&["8.8.8.8"]));
    }
    goes_to(&dialer, &hangs).await.unwrap();
    goes_to(&dialer, &other).await.unwrap();
    resolver.says("a", Manner::Hangs(Arc::default()));
    resolver.says("b", Manner::Knows(&["8.8.4.4"]));
    advance(DNS_FRESH).await;
    let mut refresh = Box::pin(dialer.refresh());
    assert!(poll!(&mut refresh).is_pending());
    let at_once = goes_to(&dialer, &hangs).now_or_never();
    assert_eq!(at_once.unwrap().unwrap(), ["8.8.8.8"]);
    // The other name was looked up beside it.
    let at_once = goes_to(&dialer, &other).now_or_never();
    assert_eq!(at_once.unwrap().unwrap(), ["8.8.4.4"]);
    let began = Instant::now();
    refresh.await;
    assert!(began.elapsed() <= DNS_TIMEOUT + SECOND);
    assert_eq!(goes_to(&dialer, &hangs).await.unwrap(), ["8.8.8.8"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_moves_keeps_the_pools_of_the_addresses_that_stay() {
    let (resolver, dialer) = start();
    let resource = resource("a");
    resolver.says("a", Manner::Knows(&["8.8.8.8", "8.8.4.4"]));
    let before = dialer.peers(&resource).await.unwrap();
    resolver.says("a", Manner::Knows(&["1.1.1.1", "8.8.4.4"]));
    advance(DNS_FRESH.saturating_sub(SECOND)).await;
    dialer.refresh().await;
    assert!(Arc::ptr_eq(
        &before,
        &dialer.peers(&resource).await.unwrap()
    ));
    advance(SECOND).await;
    dialer.refresh().await;
    let after = dialer.peers(&resource).await.unwrap();
    assert_eq!(
        goes_to(&dialer, &resource).await.unwrap(),
        ["1.1.1.1", "8.8.4.4"]
    );
    assert!(Arc::ptr_eq(&before.list[1].idle, &after.list[1].idle));
    assert!(!Arc::ptr_eq(&before.list[0].idle, &after.list[0].idle));
    // Nothing else holds the old pool: it goes with the last exchange that began before.
    assert_eq!(Arc::strong_count(&before), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_left_the_config_is_not_looked_up_again() {
    let (resolver, dialer) = start();
    let (gone, stays) = (resource("a"), resource("b"));
    for name in ["a", "b"] {
        resolver.says(name, Manner::Knows(&["8.8.8.8"]));
    }
    goes_to(&dialer, &gone).await.unwrap();
    goes_to(&dialer, &stays).await.unwrap();
    dialer.retain(std::slice::from_ref(&stays));
    let asked = resolver.asked();
    pass(&dialer, DNS_FRESH).await;
    assert_eq!(resolver.asked(), asked + 1);
    assert_eq!(dialer.peers.len(), 1);
    // One that leaves while it is looked up does not come back.
    let word = Arc::new(Notify::new());
    resolver.says("b", Manner::Hangs(Arc::clone(&word)));
    advance(DNS_FRESH).await;
    let mut refresh = Box::pin(dialer.refresh());
    assert!(poll!(&mut refresh).is_pending());
    dialer.retain(&[]);
    word.notify_one();
    refresh.await;
    assert!(dialer.peers.is_empty());
}

/// What is logged on this thread.
fn capture() -> (Arc<Mutex<String>>, tracing::subscriber::DefaultGuard) {
    struct Writer(Arc<Mutex<String>>);
    impl io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            *self.0.lock() += &String::from_utf8_lossy(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Writer(Arc::clone(&kept)))
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[test]
fn only_global_unicast_is_public() {
    let cases = [
        ("8.8.8.8", true),
        ("1.1.1.1", true),
        ("2606:4700::1111", true),
        ("127.0.0.1", false),
        ("10.1.2.3", false),
        ("172.16.0.1", false),
        ("172.32.0.1", true),
        ("192.168.1.1", false),
        ("169.254.169.254", false),
        ("100.64.0.1", false),
        ("0.0.0.0", false),
        ("255.255.255.255", false),
        ("224.0.0.1", false),
        ("::1", false),
        ("::", false),
        ("::ffff:127.0.0.1", false),
        ("::ffff:8.8.8.8", true),
        ("fe80::1", false),
        ("fd00::1", false),
        ("ff02::1", false),
        ("2002:7f00:1::", false),
        ("64:ff9b::7f00:1", false),
    ];
    for (text, expected) in cases {
        assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
    }
}
