//! What to say of a file that is not there: the nearest name in its folder.

use std::path::Path;

use crate::registry::nearest;

/// Help for a file that cannot be read: a file beside it with nearly its name, or where it was looked for. `relative_to` says what
/// the path was relative to.
pub(crate) fn help(path: &Path, relative_to: &str) -> Option<String> {
    if path.is_dir() {
        return Some(format!("this is a folder: name a file in it, such as `{}`", path.join("…").display()));
    }
    if path.exists() {
        return None;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = path.file_name()?.to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Some(format!("there is no folder `{}`; {relative_to}", folder.display()));
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    Some(match nearest(&written, names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean `{}`?", path.with_file_name(name).display()),
        None => format!("there is no such file in `{}`; {relative_to}", folder.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_file_of_the_folder_is_named() {
        let folder = std::env::temp_dir().join(format!("vi-model-missing-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("houses.csv"), "a\n1\n").unwrap();
        let ask = |name: &str| help(&folder.join(name), "paths are relative to the model file");
        assert_eq!(ask("house.csv"), Some(format!("did you mean `{}`?", folder.join("houses.csv").display())));
        assert!(ask("weather.csv").unwrap().contains("relative to the model file"));
        assert!(ask("data/houses.csv").unwrap().starts_with("there is no folder"));
        assert_eq!(ask("houses.csv"), None);
        assert!(help(&folder, "").unwrap().starts_with("this is a folder"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
