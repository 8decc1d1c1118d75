//! The committed reference is the one that the code generates.

#[test]
fn the_committed_reference_is_current() {
    let committed = include_str!("../../../docs/model-language.md");
    assert!(
        committed == vi_model::reference_markdown(),
        "write it anew: cargo run -p vi-model --example reference > docs/model-language.md"
    );
}
