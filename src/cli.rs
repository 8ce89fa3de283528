//! The command line. What it does to keys is what the admin API does, by the same code, with or without a
//! running server beside it.
//!
//! Results go to stdout and nothing else does, so that they can be piped; errors go to stderr. Secrets come in
//! on stdin and never as arguments, which other users of the machine can read.

mod admin_token;
mod audit;
mod keys;
mod seal;
mod secrets;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::diagnostic::Report;
use crate::config::live::{self, Live, Options, SecretsMode};
use crate::config::store;
use crate::keys::{generate, hash};
use crate::telemetry::metrics::Metrics;

/// `EX_CONFIG` of sysexits: what a service manager should not restart into.
pub const EXIT_CONFIG: u8 = 78;

/// Bytes of a secret on stdin. Stops a wrong file from being read whole.
const STDIN_BYTES_MAX: u64 = 32 * 1024;

/// What the program around this module provides.
#[derive(Clone, Copy, Debug)]
pub struct Commands {
    /// Serves a config directory until it is told to stop.
    pub serve: fn(&Path) -> ExitCode,
    pub demo: fn() -> ExitCode,
    /// Tries each resource of a config directory; whether all are of use.
    pub check_online: fn(&Path, &mut dyn Write) -> io::Result<bool>,
    pub now: fn() -> Timestamp,
}

/// The three streams of a process, so that tests can have their own.
pub struct Streams<'a> {
    pub stdin: &'a mut dyn Read,
    pub stdout: &'a mut dyn Write,
    pub stderr: &'a mut dyn Write,
}

/// One endpoint, one protocol, many clouds: a reverse proxy for cloud storage and AI.
#[derive(Debug, Parser)]
#[command(name = "aqueduct", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a config directory describes.
    Serve {
        #[command(flatten)]
        config: ConfigDir,
    },
    /// Check a config directory and report every problem with its place.
    ///
    /// Exits with 0 if the config would be applied whole, with 78 if not. With --online, with 1 if a resource cannot be
    /// used.
    Check {
        #[command(flatten)]
        config: ConfigDir,
        /// Also try each resource, and say what its credential can do: list, and read. Nothing is written.
        #[arg(long, conflicts_with_all = ["json", "no_secrets"])]
        online: bool,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
        /// Check everything but the secrets: for machines without the master key.
        #[arg(long)]
        no_secrets: bool,
    },
    /// Start with a temporary config and built-in upstreams, and print lines to paste.
    Demo,
    /// Print a new master key: 32 random bytes as base64, for the source of a `[[secrets.master]]`.
    Keygen,
    /// Seal a resource's secret: the secret on stdin, the text for the config on stdout.
    ///
    /// The sealed text opens for this resource and field only; renaming the resource means sealing again.
    Seal {
        #[command(flatten)]
        config: ConfigDir,
        /// Whose secret it is, as `resource/NAME/FIELD`, such as `resource/assets/secret_access_key`.
        #[arg(long = "for", value_name = "resource/NAME/FIELD")]
        owner: String,
    },
    /// Hash a bearer token: the token on stdin, `sha256:...` on stdout.
    Hash,
    /// Make, list and revoke the keys that clients use.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make tokens for the admin API.
    #[command(subcommand)]
    AdminToken(AdminTokenCommand),
    /// Change the master key.
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Look into the log of what was changed.
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Seal every sealed secret again, under another master key.
    ///
    /// To change the master key: add the new one to [[secrets.master]] as the first and let the servers load it, run
    /// this, then take the old one out. Servers go on without a break. A run that was interrupted is run again: it
    /// goes on where it stopped. What cannot be sealed again is listed with its place, and the exit code is 1.
    Rotate {
        #[command(flatten)]
        config: ConfigDir,
        /// The id of the master key to seal under.
        #[arg(long, value_name = "ID")]
        to: String,
        /// Only list the files that would change.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no line of the audit log was changed, removed, added or moved.
    ///
    /// Prints the number and the hash of the last line: kept elsewhere, they prove later that the log up to there is
    /// the one of today. Names the first line that does not fit, with exit code 1. Files that rotation has renamed
    /// (audit.log.1) are checked as parts of the log.
    Verify {
        #[command(flatten)]
        config: ConfigDir,
        /// Check this file alone, in the place of the log of the config's state directory.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct ConfigDir {
    /// The config directory.
    #[arg(long = "config", value_name = "DIR", default_value = "/etc/aqueduct")]
    dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key and print it. The secret is shown this once.
    Create(CreateKey),
    /// List the keys of a repository, newest first.
    List {
        #[command(flatten)]
        config: ConfigDir,
        #[arg(long, value_name = "NAME")]
        repository: String,
        /// Print the list as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a key: it is refused at once, and its secret is erased from its file.
    Revoke {
        #[command(flatten)]
        config: ConfigDir,
        /// The key's uuid, as `key list` shows it.
        id: Uuid,
    },
}

#[derive(Debug, Args)]
struct CreateKey {
    #[command(flatten)]
    config: ConfigDir,
    /// The repository that the key opens.
    #[arg(long, value_name = "NAME")]
    repository: String,
    /// What the key is for.
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// What a storage key may do: READ; WRITE, which includes it; ADMIN, which also includes bucket operations.
    /// READ if it is left out.
    #[arg(long, ignore_case = true)]
    access: Option<AccessArg>,
    /// Narrow WRITE to puts, deletes and multipart uploads.
    #[arg(long)]
    write_only: bool,
    /// Make an AI key, labelled with this provider.
    #[arg(long = "type", ignore_case = true, value_name = "TYPE", conflicts_with_all = ["access", "write_only"])]
    ai_type: Option<AiTypeArg>,
    /// When the key stops working, such as 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "RFC3339")]
    expires: Option<Timestamp>,
    /// Print the key as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum AccessArg {
    Read,
    Write,
    Admin,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum AiTypeArg {
    #[value(name = "OPENAI")]
    OpenAi,
    Google,
    Anthropic,
    Aws,
    Other,
}

#[derive(Debug, Subcommand)]
enum AdminTokenCommand {
    /// Make a token, print it this once, and add its hash to aqueduct.toml.
    ///
    /// Where aqueduct.toml cannot be written, the lines to add to it are printed instead.
    Create {
        #[command(flatten)]
        config: ConfigDir,
        /// What the token is for; the audit log names its user so.
        #[arg(long, value_name = "TEXT")]
        name: String,
        /// admin: everything. operator: keys and reload. viewer: reading. metrics: /metrics alone.
        #[arg(long)]
        role: RoleArg,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    Admin,
    Operator,
    Viewer,
    Metrics,
}

/// Why a command failed, and with which exit code.
enum Failed {
    /// Something to say, and the code for it.
    Said(String, u8),
    /// The config does not check.
    Config(Report),
}

impl Failed {
    fn because(message: impl Into<String>) -> Self {
        Self::Said(message.into(), 1)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::because(error.to_string())
    }
}

/// Runs the program with the process's own streams.
pub fn run(args: impl IntoIterator<Item = OsString>, commands: Commands) -> ExitCode {
    let mut streams = Streams {
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
    };
    run_with(args, commands, &mut streams)
}

/// Runs the program.
pub fn run_with(
    args: impl IntoIterator<Item = OsString>,
    commands: Commands,
    streams: &mut Streams<'_>,
) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(1);
            let text = error.render();
            let written = if error.use_stderr() {
                write!(streams.stderr, "{text}")
            } else {
                write!(streams.stdout, "{text}")
            };
            return if written.is_ok() {
                ExitCode::from(code)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    let failed = match execute(cli.command, commands, streams) {
        Ok(code) => return code,
        Err(failed) => failed,
    };
    let (written, code) = match failed {
        Failed::Said(message, code) => (writeln!(streams.stderr, "aqueduct: {message}"), code),
        Failed::Config(report) => (write!(streams.stderr, "{report}"), EXIT_CONFIG),
    };
    if written.is_ok() {
        ExitCode::from(code)
    } else {
        ExitCode::FAILURE
    }
}

fn execute(
    command: Command,
    commands: Commands,
    streams: &mut Streams<'_>,
) -> Result<ExitCode, Failed> {
    let now = commands.now;
    match command {
        Command::Serve { config } => return Ok((commands.serve)(&config.dir)),
        Command::Demo => return Ok((commands.demo)()),
        Command::Check {
            config,
            online,
            json,
            no_secrets,
        } => {
            let secrets = if no_secrets {
                SecretsMode::Skip
            } else {
                SecretsMode::Resolve
            };
            check(&live::check_dir(&config.dir, secrets, now()), json, streams)?;
            if online && !(commands.check_online)(&config.dir, streams.stdout)? {
                return Err(Failed::because("not every resource can be used"));
            }
        }
        Command::Keygen => {
            let key = generate::master_key(&entropy()?);
            say_secret(streams, key.expose())?;
        }
        Command::Seal { config, owner } => seal::run(&config.dir, &owner, now, streams)?,
        Command::Hash => {
            let token = stdin_secret(streams)?;
            if token.len() < hash::TOKEN_CHARS_MIN {
                let least = hash::TOKEN_CHARS_MIN;
                return Err(Failed::because(format!(
                    "a token of fewer than {least} characters can be guessed from its hash"
                )));
            }
            writeln!(streams.stdout, "{}", hash::format(&hash::sha256(&token)))?;
        }
        Command::Key(KeyCommand::Create(wanted)) => keys::create(&wanted, now, streams)?,
        Command::Key(KeyCommand::List {
            config,
            repository,
            json,
        }) => keys::list(&config.dir, &repository, json, now, streams)?,
        Command::Key(KeyCommand::Revoke { config, id }) => {
            keys::revoke(&config.dir, id, now, streams)?;
        }
        Command::AdminToken(AdminTokenCommand::Create { config, name, role }) => {
            admin_token::create(&config.dir, &name, role, now, streams)?;
        }
        Command::Secrets(SecretsCommand::Rotate {
            config,
            to,
            dry_run,
        }) => secrets::rotate(&config.dir, &to, dry_run, now, streams)?,
        Command::Audit(AuditCommand::Verify { config, file }) => {
            audit::verify(&config.dir, file, now, streams)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(report: &Report, json: bool, streams: &mut Streams<'_>) -> Result<(), Failed> {
    if json {
        writeln!(streams.stdout, "{}", report.to_json())?;
    } else if report.passes() {
        write!(streams.stdout, "{report}")?;
    } else {
        return Err(Failed::Config(report.clone()));
    }
    if report.passes() {
        return Ok(());
    }
    Err(Failed::Said("the config is not valid".into(), EXIT_CONFIG))
}

/// The config as a server would load it.
fn load(dir: &Path, now: fn() -> Timestamp) -> Result<Arc<Live>, Failed> {
    Live::start(dir, Options::default(), Arc::new(Metrics::new()), now).map_err(Failed::Config)
}

fn entropy<const N: usize>() -> Result<[u8; N], Failed> {
    let mut bytes = [0; N];
    store::os_random(&mut bytes)?;
    Ok(bytes)
}

/// A secret from stdin, without the line end behind it.
fn stdin_secret(streams: &mut Streams<'_>) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut limited = Read::take(&mut *streams.stdin, STDIN_BYTES_MAX + 1);
    limited.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > STDIN_BYTES_MAX {
        return Err(Failed::because(
            "what came on stdin is too long for a secret",
        ));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(Failed::because("a secret is expected on stdin"));
    }
    Ok(bytes)
}

/// Prints a secret: the one place where that is what was asked for.
fn say_secret(streams: &mut Streams<'_>, secret: &[u8]) -> io::Result<()> {
    streams.stdout.write_all(secret)?;
    streams.stdout.write_all(b"\n")?;
    streams.stdout.flush()
}

#[cfg(test)]
mod tests;
