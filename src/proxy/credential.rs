//! Credentials that are ready to sign with: tokens are fetched, kept while they are good, and renewed before they end.
//!
//! Kept for the life of the process, by the resource and what its config says of the credential: a reload that changes
//! neither keeps the token. One request at a time asks a token server; the others wait for its answer, and none waits
//! while a token is still good: those that are in use are renewed in the background, by whoever calls
//! [`Credentials::tend`], and a failing token server is noticed by nobody until the old token is about to end. After a
//! failure nobody asks again for a while. What is logged names the resource, the server and its error code, never a
//! secret.

mod aws;
mod azure;
mod fetch;
mod google;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::error::{Error, Kind, Result};
use crate::policy::credential::{Credential, Fetched, ReadyCredential, Source};
use crate::policy::route::Resource;
use crate::proxy::clock;
use crate::proxy::dial::Dialer;
use fetch::{Claims, Token};

/// A token is not used in its last moments: a request that carries it takes its time.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// How long before its end a token is renewed at the latest, where it lives long enough.
const EARLY: SignedDuration = SignedDuration::from_mins(5);
/// A token that is refused this soon after it was made would be refused again: another is not asked for.
const YOUNG: Duration = Duration::from_secs(10);
/// The pause after a failure; doubled for each further one, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Default)]
pub struct Credentials {
    entries: DashMap<Uuid, Arc<Entry>>,
}

impl Credentials {
    /// What the next attempt at `resource` is signed with.
    pub async fn ready(&self, dialer: &Dialer, resource: &Resource) -> Result<ReadyCredential> {
        match resource.credential() {
            Some(Credential::Ready(ready)) => Ok(ready.clone()),
            // Boxed: asking takes much state, which most requests never need.
            Some(Credential::Fetched(fetched)) => Box::pin(self.entry(fetched).ready(dialer)).await,
            None => Err(Error::internal("a resource without a credential")),
        }
    }

    /// `resource` refused what `refused` signed, as if it were no credential of its own (401, or its protocol's word for
    /// a token that has ended). Whether another attempt may do better.
    pub fn invalidate(&self, resource: &Resource, refused: &ReadyCredential) -> bool {
        match resource.credential() {
            Some(Credential::Fetched(fetched)) => self.entry(fetched).invalidate(refused),
            Some(Credential::Ready(_)) | None => false,
        }
    }

    /// As [`Credentials::invalidate`], of whatever is in use.
    pub fn refused(&self, resource: &Resource) -> bool {
        let Some(Credential::Fetched(fetched)) = resource.credential() else {
            return false;
        };
        let entry = self.entry(fetched);
        let held = entry.held.load_full();
        held.is_none_or(|held| entry.invalidate(&held.ready))
    }

    /// Renews what is in use and near its end. To be called every few seconds.
    pub async fn tend(&self, dialer: &Dialer) {
        let entries: Vec<Arc<Entry>> = self
            .entries
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect();
        join_all(entries.iter().map(|entry| entry.tend(dialer))).await;
    }

    /// Forgets the tokens of resources that are gone.
    pub fn retain(&self, resources: &[Arc<Resource>]) {
        self.entries
            .retain(|owner, _| resources.iter().any(|resource| resource.id == *owner));
    }

    fn entry(&self, fetched: &Arc<Fetched>) -> Arc<Entry> {
        let suits = |entry: &Entry| {
            Arc::ptr_eq(&entry.fetched, fetched) || entry.fetched.as_ref() == fetched.as_ref()
        };
        if let Some(entry) = self.entries.get(&fetched.owner)
            && suits(&entry)
        {
            return Arc::clone(&entry);
        }
        let mut entry = self
            .entries
            .entry(fetched.owner)
            .or_insert_with(|| Arc::new(Entry::new(fetched, None)));
        if !suits(&entry) {
            *entry = Arc::new(Entry::new(fetched, Some(entry.value())));
        }
        Arc::clone(&entry)
    }
}

/// The token of one resource.
struct Entry {
    fetched: Arc<Fetched>,
    held: ArcSwapOption<Held>,
    /// Since the token was made: what nobody uses is not renewed.
    used: AtomicBool,
    /// A service account's claims were refused as tokens: they are exchanged from now on.
    exchanges: AtomicBool,
    /// Held by whoever asks the token server.
    asking: Mutex<Option<Failed>>,
}

struct Held {
    ready: ReadyCredential,
    renew_at: Timestamp,
    usable_until: Timestamp,
    made: Instant,
}

/// How the token server failed of late.
struct Failed {
    kind: Kind,
    detail: String,
    /// In a row.
    count: u32,
    until: Instant,
}

impl Entry {
    fn new(fetched: &Arc<Fetched>, before: Option<&Arc<Self>>) -> Self {
        let before = before.filter(|before| fetched.continues(&before.fetched));
        let held = before.and_then(|before| before.held.load_full());
        Self {
            fetched: Arc::clone(fetched),
            held: ArcSwapOption::new(held),
            used: AtomicBool::new(false),
            exchanges: AtomicBool::new(false),
            asking: Mutex::new(None),
        }
    }

    async fn ready(&self, dialer: &Dialer) -> Result<ReadyCredential> {
        self.used.store(true, Ordering::Relaxed);
        if let Some(ready) = self.usable(clock::now()) {
            return Ok(ready);
        }
        let mut failed = self.asking.lock().await;
        // Whoever was before may have got one.
        if let Some(ready) = self.usable(clock::now()) {
            return Ok(ready);
        }
        self.renew(dialer, &mut failed).await
    }

    fn usable(&self, now: Timestamp) -> Option<ReadyCredential> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| now < held.usable_until)?;
        Some(held.ready.clone())
    }

    async fn tend(&self, dialer: &Dialer) {
        let now = clock::now();
        let is_due = |held: &Held| now >= held.renew_at;
        if !self.held.load().as_deref().is_some_and(is_due) || !self.used.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut failed) = self.asking.try_lock() else {
            return;
        };
        let paused = failed
            .as_ref()
            .is_some_and(|failed| Instant::now() < failed.until);
        if !paused && self.renew(dialer, &mut failed).await.is_ok() {
            self.used.store(false, Ordering::Relaxed);
        }
    }

    async fn renew(&self, dialer: &Dialer, failed: &mut Option<Failed>) -> Result<ReadyCredential> {
        if let Some(failed) = failed
            && Instant::now() < failed.until
        {
            return Err(failed.error(&self.fetched));
        }
        let claims = if self.exchanges.load(Ordering::Relaxed) {
            Claims::Exchanged
        } else {
            Claims::SelfSigned
        };
        match fetch::fetch(dialer, &self.fetched.source, claims).await {
            Ok(token) => {
                *failed = None;
                let ready = token.ready.clone();
                self.held
                    .store(Some(Arc::new(Held::new(token, clock::now()))));
                Ok(ready)
            }
            Err(error) => {
                let next = Failed::new(&error, failed.as_ref(), Instant::now());
                tracing::warn!(resource = %self.fetched.owner_name, %error, "no credential for the resource");
                let error = next.error(&self.fetched);
                *failed = Some(next);
                Err(error)
            }
        }
    }

    fn invalidate(&self, refused: &ReadyCredential) -> bool {
        let held = self.held.load_full();
        let Some(held) = held.filter(|held| held.ready == *refused) else {
            // Another one is in use already, or none.
            return true;
        };
        let may_exchange = matches!(self.fetched.source, Source::GoogleServiceAccount(_))
            && !self.exchanges.swap(true, Ordering::Relaxed);
        if !may_exchange && held.made.elapsed() < YOUNG {
            return false;
        }
        tracing::warn!(resource = %self.fetched.owner_name, "the resource refused its token");
        // Unless it was replaced meanwhile.
        self.held.compare_and_swap(&Some(held), None);
        true
    }
}

impl Held {
    fn new(token: Token, now: Timestamp) -> Self {
        let life = token.expires_at.duration_since(now);
        // At four fifths of its life, and no later than the usual time before its end; one that lives for too short a
        // time, or was old when it came, at half of what is left.
        let early = if life > EARLY * 2 {
            EARLY.max(life / 5)
        } else {
            life / 2
        };
        let margin = MARGIN.min(life / 10);
        Self {
            ready: token.ready,
            renew_at: token.expires_at - early + jitter(early / 5),
            usable_until: token.expires_at - margin,
            made: Instant::now(),
        }
    }
}

/// Up to `most`: so that many nodes do not renew at once.
fn jitter(most: SignedDuration) -> SignedDuration {
    let chance = getrandom::u32().unwrap_or_default();
    most.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

impl Failed {
    fn new(error: &Error, before: Option<&Self>, now: Instant) -> Self {
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        let pause = (PAUSE * (1 << (count - 1).min(5))).min(PAUSE_MAX);
        let asked = error.retry_after().unwrap_or_default();
        Self {
            kind: error.kind(),
            detail: error.detail().unwrap_or_default().to_owned(),
            count,
            until: now + pause.max(asked.min(PAUSE_MAX)),
        }
    }

    fn error(&self, fetched: &Fetched) -> Error {
        let message = "The credential of the resource cannot be had at the moment.";
        let name = &fetched.owner_name;
        Error::new(self.kind, message).with_detail(format_args!("{name}: {}", self.detail))
    }
}

#[cfg(test)]
mod tests;
