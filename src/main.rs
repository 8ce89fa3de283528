//! The `aqueduct` command.

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let dir = std::env::args().nth(3).unwrap_or_default();
    let served = aqueduct::app::serve(
        dir.as_ref(),
        Default::default(),
        Box::new(|e| eprintln!("{e:?}")),
    );
    if let Err(error) = served {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
