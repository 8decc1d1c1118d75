//! Loads model files and prints their variables, or what is wrong with them.
#![allow(clippy::print_stdout)]

fn main() {
    for path in std::env::args().skip(1) {
        match vi_model::load(std::path::Path::new(&path)) {
            Ok(graph) => println!("{path}: {} variables, {} nodes", graph.variables.len(), graph.nodes.len()),
            Err(error) => println!("{path}: refused\n{error}"),
        }
    }
}
