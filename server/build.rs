//! The page's folder must exist for embedding, also where the page was not built.

fn main() {
    println!("cargo::rerun-if-changed=../dist");
    if let Err(error) = std::fs::create_dir_all("../dist") {
        println!("cargo::warning=the folder dist cannot be made: {error}");
    }
}
