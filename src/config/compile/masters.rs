//! The master keys alone: sealing comes before the rest of a config is whole.

use super::problem;
use crate::config::diagnostic::Problem;
use crate::config::parse::Role;
use crate::config::secrets::{Env, unsealed};
use crate::config::source::SourceSet;
use crate::keys::seal::MasterRing;

/// The ring of the root file, or what is wrong with it.
pub fn master_ring(set: &SourceSet, env: Env) -> Result<MasterRing, Vec<Problem>> {
    let mut documents = set.documents.iter();
    let Some(document) = documents.find(|document| document.role == Role::Root) else {
        return Err(Vec::new());
    };
    let secrets = document.file.root.secrets.iter();
    let mut written = Vec::new();
    let mut problems = Vec::new();
    for master in secrets.flat_map(|secrets| &secrets.master) {
        let mut found = |error: &str| {
            problems.push(problem(document, "E050", &master.source, error));
        };
        let secret = match unsealed(master.source.get_ref(), &set.references, env) {
            Ok(secret) => secret,
            Err(error) => {
                found(&error);
                continue;
            }
        };
        written.push((master.id.get_ref().clone(), secret));
        if let Err(error) = MasterRing::new(written.clone()) {
            found(&error.to_string());
        }
    }
    match MasterRing::new(written) {
        Ok(ring) if problems.is_empty() => Ok(ring),
        Ok(_) | Err(_) => Err(problems),
    }
}
