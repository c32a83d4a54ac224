//! Error numbers that helpers and map operations answer with, as on Linux/x86-64.

macro_rules! errnos {
    ($( $name:ident = $number:literal, $text:literal; )+) => {
        /// An error number; programs see it negated.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[allow(non_camel_case_types, missing_docs, clippy::upper_case_acronyms, reason = "kernel names")]
        pub enum Errno { $( $name = $number, )+ }

        impl Errno {
            /// What a helper returns for this error: the number negated, as a register holds it.
            pub const fn as_return(self) -> u64 { -(self as i32 as i64) as u64 }
            /// The symbolic name, such as `ENOENT`.
            pub const fn name(self) -> &'static str { match self { $( Errno::$name => stringify!($name), )+ } }
            /// The usual sentence for it.
            pub const fn text(self) -> &'static str { match self { $( Errno::$name => $text, )+ } }
        }

        impl std::fmt::Display for Errno {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} ({})", self.text(), self.name())
            }
        }

        impl std::error::Error for Errno {}
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such entry";
    EIO = 5, "input/output error";
    E2BIG = 7, "too big";
    EBADF = 9, "bad file descriptor";
    EAGAIN = 11, "try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "busy";
    EEXIST = 17, "entry exists";
    ENODEV = 19, "no such device";
    EINVAL = 22, "invalid argument";
    ENOSPC = 28, "no space left";
    ERANGE = 34, "out of range";
    EDEADLK = 35, "would wait for itself";
    ENONET = 64, "not on the network";
    EPROTO = 71, "protocol error";
    EBADMSG = 74, "bad message";
    EOVERFLOW = 75, "value too large";
    ENOTSUPP = 524, "not supported by this kind";
    EPROTONOSUPPORT = 93, "protocol not supported";
    EOPNOTSUPP = 95, "operation not supported";
    EAFNOSUPPORT = 97, "address family not supported";
    ENETDOWN = 100, "network is down";
    ENOBUFS = 105, "no buffer space";
    EALREADY = 114, "already in progress";
}
