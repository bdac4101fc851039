//! The table of all flags, made from the command line's own definition, so that the documentation cannot drift.

use std::fmt::Write;

use clap::{Arg, CommandFactory};

use super::args::Cli;

/// The subcommands that are servers.
const ROLES: [&str; 5] = ["single", "storage", "insert", "query", "compact"];

/// `docs/flags.md`: every flag of the server roles with its environment variable, default and roles.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Flags\n\nEach flag can also be given as an environment variable; the flag wins. Durations are written as in \
         Prometheus (`15d`, `1h30m`, `500ms`), sizes as `4096`, `512MB` or `2GiB` (powers of 1024).\n\nThis page is made from the program's own \
         definition; after changing a flag run `MARIGRAM_WRITE_DOCS=1 cargo test -p marigram --lib flags`.\n",
    );
    let command = Cli::command();
    let mut headings: Vec<&str> = Vec::new();
    let mut flags: Vec<(&str, &Arg, Vec<&str>)> = Vec::new();
    for role in ROLES {
        let Some(role) = command.find_subcommand(role) else { continue };
        for arg in role.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")) {
            let heading = arg.get_help_heading().unwrap_or("General");
            if !headings.contains(&heading) {
                headings.push(heading);
            }
            match flags.iter_mut().find(|(_, known, _)| known.get_id() == arg.get_id()) {
                Some((_, _, roles)) => roles.push(role.get_name()),
                None => flags.push((heading, arg, vec![role.get_name()])),
            }
        }
    }
    for heading in headings {
        let head = "| flag | environment | default | roles | what it does |\n|---|---|---|---|---|";
        let _ = write!(out, "\n## {heading}\n\n{head}\n");
        for (_, arg, roles) in flags.iter().filter(|(of, _, _)| *of == heading) {
            row(&mut out, arg, roles);
        }
    }
    out
}

fn row(out: &mut String, arg: &Arg, roles: &[&str]) {
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values()).and_then(|names| names.first());
    let value = value.map(|name| format!(" {name}")).unwrap_or_default();
    let env = arg.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
    let default = arg.get_default_values().first().filter(|_| arg.get_action().takes_values());
    let default = default.map(|text| format!("`{}`", text.to_string_lossy())).unwrap_or_else(|| "off".to_owned());
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let name = arg.get_long().unwrap_or_default();
    let roles = if roles.len() == ROLES.len() { "all".to_owned() } else { roles.join(", ") };
    let _ = writeln!(out, "| `--{name}{value}` | {env} | {default} | {roles} | {help} |");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_page_of_flags_is_what_the_program_takes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flags.md");
        let wanted = markdown();
        if std::env::var_os("MARIGRAM_WRITE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap();
        assert_eq!(page, wanted, "docs/flags.md is out of date; run with MARIGRAM_WRITE_DOCS=1");
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        assert!(readme.contains("docs/flags.md"), "README.md does not lead to the page of flags");
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name_and_a_help_text() {
        let command = Cli::command();
        let roles = ROLES.map(|role| command.find_subcommand(role).unwrap());
        let args = roles.iter().flat_map(|role| role.get_arguments());
        for arg in args.filter(|arg| arg.get_long().is_some_and(|name| name != "help")) {
            let name = arg.get_long().unwrap();
            let env = arg.get_env().unwrap_or_else(|| panic!("--{name} has no variable")).to_string_lossy();
            assert_eq!(env, format!("MARIGRAM_{}", name.replace('-', "_").to_uppercase()));
            assert!(arg.get_help().is_some(), "--{name} has no help");
        }
    }
}
