//! Shell completions of a command line.

use clap::Command;
pub use clap_complete::Shell;

/// The completion script of `command` for `shell`: what `cavi completions bash` prints.
#[must_use]
pub fn completion_script(shell: Shell, command: &mut Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, command, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    #[test]
    fn scripts_name_the_options() {
        let mut command = Command::new("cavi").arg(Arg::new("seed").long("seed"));
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completion_script(shell, &mut command)).unwrap();
            assert!(script.contains("cavi") && script.contains("seed"), "{shell}: {script}");
        }
    }
}
