//! The name of this machine.

/// What a node is called where neither a flag nor the machine says.
const FALLBACK: &str = "localhost";

/// The host's name.
pub(crate) fn get() -> String {
    // POSIX promises that 255 bytes suffice.
    let mut bytes = [0u8; 256];
    // SAFETY: the pointer and the length are those of one array, which nobody else touches meanwhile.
    let failed = unsafe { libc::gethostname(bytes.as_mut_ptr().cast(), bytes.len() - 1) } != 0;
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    match std::str::from_utf8(&bytes[..length]) {
        Ok(name) if !failed && !name.is_empty() => name.to_owned(),
        _ => FALLBACK.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_has_a_name() {
        let name = super::get();
        let kernels = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| name.clone());
        assert_eq!(name, kernels.trim_end());
    }
}
