//! Reading memory of this process at an address that may be wrong.

/// Copies what is readable at `address` into `into` and answers how many bytes that was; 0 when none.
///
/// The kernel does the copying (`process_vm_readv` on ourselves), so a wrong address is an answer, not a
/// fault. Reading stops at the first page that is not readable.
pub fn read(address: u64, into: &mut [u8]) -> usize {
    const PAGE: usize = 4096;
    let mut done = 0;
    while done < into.len() {
        let at = (address as usize).wrapping_add(done);
        let len = (PAGE - at % PAGE).min(into.len() - done);
        let local = libc::iovec { iov_base: into[done..].as_mut_ptr().cast(), iov_len: len };
        let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: len };
        // SAFETY: `local` names `len` writable bytes of `into`; the kernel checks `remote` itself.
        let copied = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
        if copied != len as isize {
            break;
        }
        done += len;
    }
    done
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_what_is_there_and_survives_what_is_not() {
        let text = *b"twelve bytes";
        let mut copy = [0; 12];
        assert_eq!(super::read(text.as_ptr().addr() as u64, &mut copy), 12);
        assert_eq!(copy, text);
        assert_eq!(super::read(0, &mut copy), 0);
        assert_eq!(super::read(u64::MAX - 3, &mut copy), 0);
    }
}
