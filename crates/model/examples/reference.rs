//! Prints the reference of the language, or its JSON Schema with the argument `schema`.
#![allow(clippy::print_stdout)]

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("schema") => println!("{:#}", vi_model::schema()),
        _ => print!("{}", vi_model::reference_markdown()),
    }
}
