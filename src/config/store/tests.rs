use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::tests_support::{CANARIES, Fixture, REPOSITORIES, REPOSITORY, caller, now};
use super::*;
use crate::config::live::Trigger;
use crate::keys::{Access, AiType, Material, file, hash};

const PROD: RepositoryRef<'static> = RepositoryRef::Name("prod");

fn storage(access: Access) -> NewKey {
    NewKey::new(
        "CI Bot",
        NewKind::Storage {
            access,
            write_only: false,
        },
    )
}

fn ai() -> NewKey {
    NewKey::new(
        "AI",
        NewKind::Ai {
            ai_type: AiType::OpenAi,
            restrict_to_type: false,
        },
    )
}

fn by_id(id: Uuid) -> KeyRef<'static> {
    KeyRef {
        id,
        repository: None,
        family: None,
        if_match: None,
    }
}

#[test]
fn a_created_key_authenticates_here_and_after_a_restart() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let s3 = store
        .create(PROD, &storage(Access::Write), &caller())
        .unwrap();
    let bearer = store.create(PROD, &ai(), &caller()).unwrap();
    for live in [live, fixture.live()] {
        let snapshot = live.current();
        let entry = &snapshot.s3_keys[s3.key.as_str()];
        assert_eq!(entry.key.material, Material::Hmac(s3.secret.clone()));
        assert_eq!(entry.key.access, Access::Write);
        assert_eq!(entry.key.id, s3.id);
        let entry = &snapshot.ai_keys[&hash::sha256(bearer.secret.expose())];
        assert_eq!(entry.key.id, bearer.id);
        assert_eq!(&*entry.key.key, bearer.key);
    }
    let path = fixture.dir().join(&s3.file);
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(file::verify(&fixture.read(&s3.file)).is_ok());
    assert_eq!(
        s3.file.to_str().unwrap(),
        format!("keys.d/prod--{}.toml", s3.id)
    );
}

#[test]
fn every_setting_of_a_new_key_is_loaded() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let mut new = storage(Access::Write);
    new.kind = NewKind::Storage {
        access: Access::Write,
        write_only: true,
    };
    new.expires_at = Some("2027-01-01T00:00:00Z".parse().unwrap());
    new.not_before = Some("2026-01-01T00:00:00Z".parse().unwrap());
    new.allow_ips = vec!["10.0.0.0/8".into()];
    new.allow_buckets = vec!["acme-assets".into()];
    new.allow_prefixes = vec!["acme-assets/ci/".into()];
    let made = fixture.store(&live).create(PROD, &new, &caller()).unwrap();
    let key = Arc::clone(&live.current().s3_keys[made.key.as_str()].key);
    assert!(key.write_only);
    assert_eq!(key.expires_at, new.expires_at);
    assert_eq!(key.not_before, new.not_before);
    assert_eq!(key.allow_ips.len(), 1);
    assert_eq!(&*key.allow_buckets[0], "acme-assets");
    assert_eq!(&*key.allow_prefixes[0], "acme-assets/ci/");
    assert_eq!(&*key.created_by, "token:test");
    assert_eq!(key.created_at, now());
}

#[test]
fn deleting_refuses_the_key_and_erases_its_secret() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let s3 = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let bearer = store.create(PROD, &ai(), &caller()).unwrap();
    for made in [&s3, &bearer] {
        assert_eq!(
            store.delete(&by_id(made.id), &caller()).unwrap(),
            Deleted::Erased
        );
        let text = fixture.read(&made.file);
        assert!(!text.contains("sealed:") && !text.contains("secret_sha256"));
        assert!(text.contains("deleted_at = 2026-11-21T00:00:00Z"));
        assert!(file::verify(&text).is_ok());
        assert!(matches!(
            store.delete(&by_id(made.id), &caller()),
            Err(StoreError::KeyNotFound)
        ));
    }
    let revoked = fs::read_to_string(fixture.state().join("revoked.ids")).unwrap();
    assert!(revoked.contains(&s3.id.to_string()) && revoked.contains(&bearer.id.to_string()));
    for live in [live, fixture.live()] {
        assert!(live.current().s3_keys.is_empty() && live.current().ai_keys.is_empty());
    }
    assert!(store.list(PROD, None).unwrap().is_empty());
}

#[test]
fn a_deletion_does_not_wait_for_a_valid_config() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let made = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    fixture.write("conf.d/broken.toml", "[[s3]\n");
    assert_eq!(
        store.delete(&by_id(made.id), &caller()).unwrap(),
        Deleted::Erased
    );
    assert!(live.current().s3_keys.is_empty());
    assert!(!fixture.read(&made.file).contains("sealed:"));
}

#[test]
fn nothing_is_written_while_the_config_on_disk_is_not_valid() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let made = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let before = fixture.read(&made.file);
    fixture.write("conf.d/broken.toml", "[[s3]\n");
    let created = store.create(PROD, &storage(Access::Read), &caller());
    assert!(matches!(created, Err(StoreError::Conflict(report)) if report.blocks()));
    let patch = Patch {
        name: Some("new".into()),
        access: None,
    };
    let updated = store.update(&by_id(made.id), &patch, &caller());
    assert!(matches!(updated, Err(StoreError::Conflict(_))));
    assert_eq!(fixture.read(&made.file), before);
    assert_eq!(fixture.key_files().len(), 1);
}

#[test]
fn a_change_on_disk_is_loaded_before_a_key_is_written() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let third = REPOSITORIES
        .replace(REPOSITORY, "2b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f12")
        .replace("\"prod\"", "\"third\"");
    let only = third.split("[[repository]]").nth(1).unwrap();
    fixture.write("conf.d/third.toml", &format!("[[repository]]{only}"));
    let made = store.create(
        RepositoryRef::Name("third"),
        &storage(Access::Read),
        &caller(),
    );
    assert!(made.is_ok(), "{made:?}");
}

#[test]
fn a_persons_file_keeps_every_other_byte() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let digest = hash::format(&hash::sha256(b"a token that somebody brought along"));
    let id = "7d0c9a52-3b0e-4a55-8d2e-1c4f6f1a9b77";
    let text = format!(
        "# By hand.\n[[key]]   # the one\nid = \"{id}\"\n  repository = 'prod'\nfamily = \"ai\"\n\
         name   = \"Old\"   # asked for by Ann\nsecret_sha256 = \"{digest}\"\n\n# The end.\n"
    );
    fixture.write("conf.d/hand.toml", &text);
    let store = fixture.store(&live);
    let id: Uuid = id.parse().unwrap();
    let patch = Patch {
        name: Some("New".into()),
        access: None,
    };
    let entry = store.update(&by_id(id), &patch, &caller());
    // The key was on disk only; the look before the write found it.
    assert_eq!(&*entry.unwrap().key.name, "New");
    assert_eq!(
        fixture.read("conf.d/hand.toml"),
        text.replace("\"Old\"", "\"New\"")
    );
    assert_eq!(
        store.delete(&by_id(id), &caller()).unwrap(),
        Deleted::Erased
    );
    let left = fixture.read("conf.d/hand.toml");
    assert!(!left.contains("sha256"));
    assert!(
        left.contains("name   = \"New\"   # asked for by Ann\n") && left.contains("# The end.")
    );
}

#[test]
fn what_is_linked_in_from_elsewhere_is_read_only() {
    let fixture = Fixture::new();
    let digest = hash::format(&hash::sha256(b"a token that somebody brought along"));
    let id = "7d0c9a52-3b0e-4a55-8d2e-1c4f6f1a9b77";
    let text = format!(
        "\n[[key]]\nid = \"{id}\"\nrepository = \"prod\"\nfamily = \"ai\"\nname = \"Old\"\nsecret_sha256 = \"{digest}\"\n"
    );
    let outside = fixture.state().join("git.toml");
    fs::write(&outside, &text).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.dir().join("conf.d/git.toml")).unwrap();
    let live = fixture.live();
    let store = fixture.store(&live);
    let id: Uuid = id.parse().unwrap();
    let patch = Patch {
        name: Some("New".into()),
        access: None,
    };
    let refused = store.update(&by_id(id), &patch, &caller()).unwrap_err();
    assert!(
        refused.to_string().starts_with("conf.d/git.toml:2 "),
        "{refused}"
    );
    assert!(matches!(
        store.delete(&by_id(id), &caller()),
        Err(StoreError::ReadOnly(_))
    ));
    assert_eq!(fs::read_to_string(outside).unwrap(), text);
    assert_eq!(live.current().ai_keys.len(), 1);
}

#[test]
fn an_etag_is_good_until_the_key_changes() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let made = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let etag = etag(&store.list(PROD, None).unwrap()[0].key);
    let patch = |name: &str| Patch {
        name: Some(name.into()),
        access: Some(Access::Write),
    };
    let matching = KeyRef {
        if_match: Some(&etag),
        ..by_id(made.id)
    };
    let changed = store.update(&matching, &patch("one"), &caller()).unwrap();
    assert_eq!(changed.key.access, Access::Write);
    for stale in [
        store.update(&matching, &patch("two"), &caller()).err(),
        store.delete(&matching, &caller()).err(),
    ] {
        assert!(matches!(stale, Some(StoreError::Stale)));
    }
    // The same change again changes nothing, and writes nothing.
    let lines = fixture.audit_lines().len();
    store
        .update(&by_id(made.id), &patch("one"), &caller())
        .unwrap();
    assert_eq!(fixture.audit_lines().len(), lines);
}

#[test]
fn wrong_wishes_are_refused_before_anything_is_written() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let named = |name: &str| NewKey::new(name, storage(Access::Read).kind);
    let mut backwards = storage(Access::Read);
    backwards.not_before = Some(now());
    backwards.expires_at = Some(Timestamp::UNIX_EPOCH);
    let mut bad_net = storage(Access::Read);
    bad_net.allow_ips = vec!["10.0.0.0/99".into()];
    let mut bad_bucket = storage(Access::Read);
    bad_bucket.allow_buckets = vec!["no-such-bucket".into(), String::new()];
    let mut unwritable = storage(Access::Read);
    unwritable.kind = NewKind::Storage {
        access: Access::Read,
        write_only: true,
    };
    for wrong in [
        named(""),
        named("   "),
        named("a\nb"),
        named(&"x".repeat(NAME_CHARS_MAX + 1)),
        backwards,
        bad_net,
        bad_bucket,
        unwritable,
    ] {
        assert!(store.create(PROD, &wrong, &caller()).is_err(), "{wrong:?}");
    }
    let missing = store.create(RepositoryRef::Name("absent"), &ai(), &caller());
    assert!(matches!(missing, Err(StoreError::RepositoryNotFound)));
    let no_storage = store.create(
        RepositoryRef::Name("other"),
        &storage(Access::Read),
        &caller(),
    );
    assert!(matches!(no_storage, Err(StoreError::Invalid(_))));
    assert!(fixture.key_files().is_empty());
    assert!(fixture.audit_lines().is_empty());
}

#[test]
fn concurrent_writers_lose_nothing() {
    let fixture = Fixture::new();
    // Each with a view of its own, as processes have.
    let stores: Vec<KeyStore> = (0..4).map(|_| fixture.store(&fixture.live())).collect();
    let shared = stores[0]
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| {
                for _ in 0..3 {
                    let made = store
                        .create(PROD, &storage(Access::Read), &caller())
                        .unwrap();
                    let patch = Patch {
                        name: Some("changed".into()),
                        access: None,
                    };
                    store.update(&by_id(made.id), &patch, &caller()).unwrap();
                    store.create(PROD, &ai(), &caller()).unwrap();
                }
            });
        }
        // Two writers change different fields of one key.
        scope.spawn(|| {
            let patch = Patch {
                name: Some("shared".into()),
                access: None,
            };
            stores[1]
                .update(&by_id(shared.id), &patch, &caller())
                .unwrap();
        });
        scope.spawn(|| {
            let patch = Patch {
                name: None,
                access: Some(Access::Admin),
            };
            stores[2]
                .update(&by_id(shared.id), &patch, &caller())
                .unwrap();
        });
    });
    let live = fixture.live();
    assert_eq!(live.current().s3_keys.len(), 13);
    assert_eq!(live.current().ai_keys.len(), 12);
    let names = live.current();
    let mut names = names.s3_keys.values().map(|entry| &*entry.key.name);
    assert!(names.all(|name| name == "changed" || name == "shared"));
    let entry = &live.current().s3_keys[shared.key.as_str()];
    assert_eq!(
        (&*entry.key.name, entry.key.access),
        ("shared", Access::Admin)
    );
    let numbers: Vec<u64> = fixture
        .audit_lines()
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    let all: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, all);
}

#[test]
fn leftovers_of_a_crash_are_no_keys_and_are_swept() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let made = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let half = &fixture.read(&made.file)[..100];
    fixture.write("keys.d/.x.toml.tmp-0123456789abcdef", half);
    fixture.write(".aqueduct.toml.tmp-0123456789abcdef", half);
    assert_eq!(fixture.live().current().s3_keys.len(), 1);
    assert_eq!(store.sweep().unwrap().len(), 2);
    assert_eq!(fixture.key_files().len(), 1);
}

#[test]
fn every_change_is_announced_and_closed_on_record() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let made = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let patch = Patch {
        name: Some("n".into()),
        access: None,
    };
    store.update(&by_id(made.id), &patch, &caller()).unwrap();
    store.delete(&by_id(made.id), &caller()).unwrap();
    let lines = fixture.audit_lines();
    let seen: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| {
            (
                line["event"].as_str().unwrap(),
                line["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("apikey.created", "intended"),
            ("apikey.created", "ok"),
            ("apikey.updated", "intended"),
            ("apikey.updated", "ok"),
            ("apikey.deleted", "intended"),
            ("apikey.deleted", "ok"),
        ]
    );
    assert_eq!(lines[0]["contextId"], made.id.to_string());
    assert_eq!(lines[0]["repo"], REPOSITORY);
    assert_eq!(lines[0]["after"]["name"], "CI Bot");
    assert_eq!(lines[2]["before"]["name"], "CI Bot");
    assert_eq!(lines[3]["intended"], lines[2]["seq"]);
}

#[test]
fn no_secret_is_written_or_printed() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let s3 = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let bearer = store.create(PROD, &ai(), &caller()).unwrap();
    let printed = format!("{:?}{store:?}{s3:?}{bearer:?}", live.current());
    let written = fixture.everything_written();
    store.delete(&by_id(s3.id), &caller()).unwrap();
    let after = fixture.everything_written();
    let mut secrets: Vec<&str> = CANARIES.to_vec();
    secrets.push(s3.secret.expose_str().unwrap());
    secrets.push(bearer.secret.expose_str().unwrap());
    for secret in secrets {
        for text in [&printed, &written, &after] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}

#[test]
fn a_write_that_fails_is_on_record_and_changes_nothing() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let made = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    // The audit log cannot be written: then nothing is.
    fs::remove_file(fixture.state().join("audit.log")).unwrap();
    fs::create_dir(fixture.state().join("audit.log")).unwrap();
    let created = store.create(PROD, &storage(Access::Read), &caller());
    assert!(matches!(created, Err(StoreError::Degraded { .. })));
    assert_eq!(fixture.key_files().len(), 1);
    let deleted = store.delete(&by_id(made.id), &caller());
    assert!(matches!(deleted, Err(StoreError::Degraded { .. })));
    assert_eq!(live.current().s3_keys.len(), 1);
}

#[test]
fn what_root_writes_belongs_to_the_service() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let service = 12_345;
    let fixture = Fixture::new();
    for path in [fixture.dir().join("keys.d"), fixture.state()] {
        chown(path, Some(service), Some(service)).unwrap();
    }
    let live = fixture.live();
    let store = fixture.store(&live);
    let made = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    store.delete(&by_id(made.id), &caller()).unwrap();
    for path in [
        fixture.dir().join(made.file),
        fixture.state().join("audit.log"),
        fixture.state().join("revoked.ids"),
    ] {
        let owner = fs::metadata(&path).unwrap().uid();
        assert_eq!(owner, service, "{}", path.display());
    }
}

#[test]
fn a_file_cut_short_right_after_its_write_keeps_its_key() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let made = fixture
        .store(&live)
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let text = fixture.read(&made.file);
    fixture.write(made.file.to_str().unwrap(), &text[..text.len() / 2]);
    fixture.write("conf.d/more.toml", "# Something else changes too.\n");
    live.reload(Trigger::Watch);
    assert!(live.current().s3_keys.contains_key(made.key.as_str()));
    assert!(!live.last_report().passes());
}

#[test]
fn a_key_whose_repository_left_the_config_can_be_revoked() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    let made = store
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let without = REPOSITORIES.replace("\"prod\"", "\"renamed\"");
    let without = without.replace(REPOSITORY, "2b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f12");
    fixture.write("conf.d/media.toml", &without);
    live.reload(Trigger::Watch);
    assert!(live.current().s3_keys.is_empty());
    let under = |repository: &str| KeyRef {
        repository: Some(RepositoryRef::Id(repository.parse().unwrap())),
        family: Some(Family::Storage),
        ..by_id(made.id)
    };
    // It is none of those that are there.
    for other in [
        super::tests_support::OTHER,
        "2b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f12",
    ] {
        let refused = store.delete(&under(other), &caller());
        assert!(matches!(refused, Err(StoreError::KeyNotFound)), "{other}");
    }
    let deleted = store.delete(&under(REPOSITORY), &caller()).unwrap();
    assert_eq!(deleted, Deleted::Erased);
    assert!(!fixture.read(&made.file).contains("sealed:"));
    fixture.write("conf.d/media.toml", REPOSITORIES);
    live.reload(Trigger::Watch);
    assert!(live.current().s3_keys.is_empty());
    let again = store.delete(&under(REPOSITORY), &caller());
    assert!(matches!(again, Err(StoreError::KeyNotFound)));
}

#[test]
fn a_key_in_a_damaged_file_can_be_revoked_once() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let made = fixture
        .store(&live)
        .create(PROD, &storage(Access::Read), &caller())
        .unwrap();
    let text = fixture.read(&made.file);
    let name = made.file.to_str().unwrap();
    fixture.write(name, &text[..text.len() / 2]);
    // As after a restart: no load has seen the file whole.
    let live = fixture.live();
    let store = fixture.store(&live);
    assert!(live.current().s3_keys.is_empty());
    let deleted = store.delete(&by_id(made.id), &caller()).unwrap();
    assert!(matches!(deleted, Deleted::Revoked(_)));
    fixture.write(name, &text);
    live.reload(Trigger::Watch);
    assert!(live.current().s3_keys.is_empty(), "it came back");
    // Now its secret can be erased, and then it is gone.
    assert_eq!(
        store.delete(&by_id(made.id), &caller()).unwrap(),
        Deleted::Erased
    );
    let again = store.delete(&by_id(made.id), &caller());
    assert!(matches!(again, Err(StoreError::KeyNotFound)));
}

#[test]
fn files_in_motion_are_waited_for_and_then_refused() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let store = fixture.store(&live);
    fs::create_dir(fixture.dir().join(".git")).unwrap();
    let lock = fixture.dir().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    fs::remove_file(fixture.dir().join("conf.d/media.toml")).unwrap();
    let refused = store.create(PROD, &storage(Access::Read), &caller());
    assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
    assert!(live.current().repository("prod").is_some());
    fixture.write("conf.d/media.toml", REPOSITORIES);
    fs::remove_file(&lock).unwrap();
    assert!(
        store
            .create(PROD, &storage(Access::Read), &caller())
            .is_ok()
    );
}
