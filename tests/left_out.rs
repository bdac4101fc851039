//! Says which whole-system tests this run leaves out, and why. It has no harness: what a passing test prints is
//! swallowed, and this must be seen.

#[path = "support/needs.rs"]
mod needs;

fn main() {
    let absent: Vec<_> = needs::ALL.iter().filter(|need| need.path().is_none()).collect();
    if absent.is_empty() {
        println!("\nno whole-system test is left out\n");
        return;
    }
    println!("\nwhole-system tests that are LEFT OUT (./test.sh fetches what they need):");
    for need in absent {
        println!("  {}: {} is not set to {}", need.tests, need.variable, need.what);
    }
    println!();
}
