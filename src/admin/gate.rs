//! What stands before every route: host, origin, token, role, content type.
//!
//! A browser that was lured to a page, or a name that was rebound to our address, carries no token; the host and
//! origin rules are for the day when one does. They do not look at `Sec-Fetch-Mode`, which Node's own client
//! sends as a browser would.

use std::net::{IpAddr, Ipv6Addr};

use dashmap::DashMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use jiff::Timestamp;

use super::AdminRequest;
use super::answer::{Code, Failure};
use super::routes::Need;
use crate::config::snapshot::{AdminSettings, Role};
use crate::keys::hash;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Bytes of a token that are hashed. Stops a header of the largest size from being hashed over and over.
const TOKEN_BYTES_MAX: usize = 1024;

/// Failed authentications from one address in one window.
const FAILURES_MAX: u32 = 10;

/// Length of a window, in seconds.
const WINDOW_SECONDS: i64 = 60;

/// Addresses that are counted at one time. Stops a sender with many addresses from filling memory.
const ADDRESSES_MAX: usize = 10_000;

/// Who a token says that the caller is.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: Box<str>,
    pub(super) role: Role,
}

/// Checks `Host` against the names that we answer to. Over a unix socket there is no name to rebind.
pub(super) fn check_host(settings: &AdminSettings, request: &AdminRequest) -> Result<(), Failure> {
    let host = host(request)?;
    let known = request.peer.is_none()
        || settings
            .allow_hosts
            .iter()
            .any(|allowed| is_host(allowed, &host));
    if known {
        return Ok(());
    }
    let message = "this host name is not in admin.allow_hosts";
    Err(Failure::new(Code::MisdirectedRequest, message))
}

/// The one `Host` of a request.
fn host(request: &AdminRequest) -> Result<String, Failure> {
    let mut values = request.headers.get_all(HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Failure::invalid("exactly one Host header is needed"));
    };
    let text = value.to_str().unwrap_or("");
    let is_clean = !text.is_empty()
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
        });
    if !is_clean {
        return Err(Failure::invalid("the Host header is malformed"));
    }
    Ok(text.to_ascii_lowercase())
}

/// An entry without a port allows any.
fn is_host(allowed: &str, host: &str) -> bool {
    if allowed.eq_ignore_ascii_case(host) {
        return true;
    }
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    allowed.eq_ignore_ascii_case(name)
}

/// Refuses what a browser sends from another site.
pub(super) fn check_origin(request: &AdminRequest) -> Result<(), Failure> {
    let refused = || Failure::new(Code::Forbidden, "requests from other sites are refused");
    for origin in request.headers.get_all(ORIGIN) {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .map(|(_, authority)| authority.to_ascii_lowercase());
        if authority.as_deref() != Some(host(request)?.as_str()) {
            return Err(refused());
        }
    }
    for site in request.headers.get_all(SEC_FETCH_SITE) {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return Err(refused());
        }
    }
    Ok(())
}

/// Finds the token of a request. All tokens are compared, in constant time.
pub(super) fn authenticate(
    settings: &AdminSettings,
    request: &AdminRequest,
) -> Result<Identity, Failure> {
    let refused = |message| Failure::new(Code::Unauthorized, message);
    let mut values = request.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(refused("a bearer token is needed"));
    };
    if values.next().is_some() {
        return Err(refused("more than one Authorization header"));
    }
    let token = value
        .as_bytes()
        .split_at_checked(7)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token.trim_ascii())
        .filter(|token| (1..=TOKEN_BYTES_MAX).contains(&token.len()))
        .ok_or_else(|| refused("a bearer token is needed"))?;
    let digest = hash::sha256(token);
    let mut found = None;
    for known in &settings.tokens {
        if hash::same(&known.sha256, &digest) {
            found = Some(known);
        }
    }
    let known = found.ok_or_else(|| refused("the token is not known"))?;
    Ok(Identity {
        name: known.name.clone(),
        role: known.role,
    })
}

/// Whether a role is enough.
pub(super) fn may(role: Role, need: Need) -> bool {
    match (role, need) {
        (Role::Admin, _) => true,
        (Role::Operator, Need::Metrics | Need::View | Need::Operate) => true,
        (Role::Operator, Need::Administer) => false,
        (Role::Viewer, Need::Metrics | Need::View) => true,
        (Role::Viewer, Need::Operate | Need::Administer) => false,
        (Role::Metrics, Need::Metrics) => true,
        (Role::Metrics, Need::View | Need::Operate | Need::Administer) => false,
    }
}

/// A body must say that it is JSON: a form that a page made a browser send cannot.
pub(super) fn check_content_type(request: &AdminRequest) -> Result<(), Failure> {
    if request.body.is_empty() {
        return Ok(());
    }
    let is_json = request
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if is_json {
        return Ok(());
    }
    let message = "a body must have the content type application/json";
    Err(Failure::new(Code::UnsupportedMediaType, message))
}

/// Counts failed authentications an address. Good tokens pass whatever the count, so nobody can lock others out.
#[derive(Debug, Default)]
pub(super) struct Throttle(DashMap<IpAddr, Window>);

#[derive(Clone, Copy, Debug)]
struct Window {
    started: i64,
    failures: u32,
}

impl Throttle {
    /// Counts one failure; an error if there were too many.
    pub(super) fn count(&self, peer: Option<IpAddr>, now: Timestamp) -> Result<(), Failure> {
        let Some(peer) = peer else {
            return Ok(());
        };
        let now = now.as_second();
        if self.0.len() >= ADDRESSES_MAX {
            self.0
                .retain(|_, window| (0..WINDOW_SECONDS).contains(&(now - window.started)));
            if self.0.len() >= ADDRESSES_MAX {
                return Err(Failure::throttled(WINDOW_SECONDS));
            }
        }
        let mut window = self.0.entry(network(peer)).or_insert(Window {
            started: now,
            failures: 0,
        });
        let age = now - window.started;
        if !(0..WINDOW_SECONDS).contains(&age) {
            *window = Window {
                started: now,
                failures: 0,
            };
        }
        window.failures = window.failures.saturating_add(1);
        if window.failures > FAILURES_MAX {
            return Err(Failure::throttled(window.started + WINDOW_SECONDS - now));
        }
        Ok(())
    }
}

/// An IPv6 sender has a whole /64 to itself.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(peer) => IpAddr::V4(peer),
        IpAddr::V6(peer) => {
            let host_bits = u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(peer.to_bits() & !host_bits))
        }
    }
}
