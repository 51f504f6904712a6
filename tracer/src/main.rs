//! The program `eptrace`; everything is in the library.

fn main() -> std::process::ExitCode {
    eptrace::cli::main()
}
