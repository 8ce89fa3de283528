//! The `aqueduct` command.

use std::process::ExitCode;

use aqueduct::app;
use aqueduct::cli::{self, Commands};
use aqueduct::proxy::clock;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let commands = Commands {
        serve: app::command::serve,
        demo: app::command::demo,
        check_online: app::command::check_online,
        now: clock::now,
    };
    cli::run(std::env::args_os(), commands)
}
