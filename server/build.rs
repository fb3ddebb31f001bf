//! Creates the page's folder, because embedding needs it even if the page was not built.

fn main() {
    println!("cargo::rerun-if-changed=../dist");
    if let Err(error) = std::fs::create_dir_all("../dist") {
        println!("cargo::warning=the folder dist cannot be created: {error}");
    }
}
