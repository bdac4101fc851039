//! The `marigram` program: the command line in, an exit code out.

use std::process::ExitCode;

use clap::error::ErrorKind;
use marigram::config::args::{Cli, one_line};
use marigram::{allocator, role};

fn main() -> ExitCode {
    allocator::return_large_buffers();
    match Cli::read(std::env::args_os()) {
        Ok(cli) => role::run(cli.command),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                print!("{error}");
                ExitCode::SUCCESS
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                eprint!("{error}");
                ExitCode::from(role::EXIT_USAGE)
            }
            _ => {
                eprintln!("{}", one_line(&error));
                ExitCode::from(role::EXIT_USAGE)
            }
        },
    }
}
