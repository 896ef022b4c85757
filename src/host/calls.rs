//! Which calls of the kernel this process may make, from now on and for good: seccomp, where kernel and processor have it.
//! The only file with seccompiler.
//!
//! What mail has no use for, and whoever has taken over a process has, is refused (EPERM) and not punished: a library
//! that only tries gets its answer and goes another way.

/// Refuses this thread, and those that it will start, what mail does not need; to run programs too, unless it `may_run`
/// some. False: there is no such thing on this kernel or for this processor.
///
/// # Errors
/// A sentence; nothing has changed then.
pub fn enter(may_run: bool) -> Result<bool, String> {
    filter::enter(may_run)
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod filter {
    use std::collections::BTreeMap;
    use std::io;

    use nix::libc::{self, c_int, c_long};
    use seccompiler::{
        BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule,
    };

    /// Calls that are refused, and what they are good for to an intruder.
    const REFUSED: &[c_long] = &[
        // to look into other processes, or take what they have open
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        // to change what the file system is
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_open_by_handle_at,
        libc::SYS_quotactl,
        // to be root in a world of its own, where more of the kernel lies open
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_personality,
        // to change the kernel
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        // parts of it in which most of its faults are found, or by which other filters are passed round
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // the keys it holds
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        // the machine
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_syslog,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_clock_adjtime,
        libc::SYS_adjtimex,
    ];
    /// Those that only this processor has.
    #[cfg(target_arch = "x86_64")]
    const REFUSED_HERE: &[c_long] = &[
        libc::SYS_kexec_file_load,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_modify_ldt,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const REFUSED_HERE: &[c_long] = &[];
    /// To run programs.
    const RUN: &[c_long] = &[libc::SYS_execve, libc::SYS_execveat];

    /// The same calls have other numbers for programs of the x32 kind, which the kernel takes from any (x32 ABI).
    const X32: c_long = 0x4000_0000;
    /// x32 numbers that are not made so: execve, ptrace, kexec_load, process_vm_readv, process_vm_writev, execveat.
    const X32_ODD: &[c_long] = &[520, 521, 528, 539, 540, 545];

    /// What makes clone(2) begin such a world: namespaces of users, mounts, processes, networks, and the others.
    const WORLDS: &[c_int] = &[
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];

    /// Sockets that mail has a use for; netlink is how the C library finds this machine's addresses.
    const FAMILIES: &[c_int] = &[
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];

    pub fn enter(may_run: bool) -> Result<bool, String> {
        let program = program(may_run).map_err(|e| e.to_string())?;
        match seccompiler::apply_filter(&program) {
            Ok(()) => {}
            Err(Error::Seccomp(e) | Error::Prctl(e)) if is_missing(&e) => return Ok(false),
            Err(e) => return Err(e.to_string()),
        }
        let without = without_clone3().map_err(|e| e.to_string())?;
        seccompiler::apply_filter(&without).map_err(|e| e.to_string())?;
        Ok(true)
    }

    /// What clone3(2) is asked for stands in memory, where no filter looks. Where it is not there, threads are begun by
    /// clone(2), as on every kernel before it.
    pub(super) fn without_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
        let calls = [libc::SYS_clone3, libc::SYS_clone3 | X32];
        let rules = calls.map(|call| (call, Vec::new())).into();
        let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, SeccompAction::Allow, missing, arch)?.try_into()
    }

    /// A kernel that was made without it.
    fn is_missing(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
    }

    pub(super) fn program(may_run: bool) -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules = BTreeMap::new();
        let run = if may_run { &[] } else { RUN };
        for call in REFUSED.iter().chain(REFUSED_HERE).chain(run) {
            rules.insert(*call, Vec::new());
        }
        let others = FAMILIES.iter().map(|family| {
            let family = u64::try_from(*family).unwrap_or_default();
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
        });
        let others = SeccompRule::new(others.collect::<Result<_, _>>()?)?;
        rules.insert(libc::SYS_socket, vec![others]);
        let worlds = WORLDS.iter().map(|world| {
            let world = u64::try_from(*world).unwrap_or_default();
            let is_asked_for = SeccompCmpOp::MaskedEq(world);
            let begins = SeccompCondition::new(0, SeccompCmpArgLen::Dword, is_asked_for, world);
            SeccompRule::new(vec![begins?])
        });
        rules.insert(libc::SYS_clone, worlds.collect::<Result<_, _>>()?);
        if cfg!(target_arch = "x86_64") {
            let same: Vec<_> = rules.iter().map(|(n, r)| (n | X32, r.clone())).collect();
            let odd = X32_ODD.iter().map(|n| (n | X32, Vec::new()));
            rules.extend(same.into_iter().chain(odd));
        }
        let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
    }
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
mod filter {
    pub fn enter(_may_run: bool) -> Result<bool, String> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::process::Command;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    #[test]
    fn what_mail_does_not_need_is_refused_and_the_rest_is_not() {
        for may_run in [false, true] {
            // The filter is this thread's alone.
            let thread = std::thread::spawn(move || {
                if !enter(may_run).unwrap() {
                    return;
                }
                let ran = Command::new("/bin/true").status();
                match may_run {
                    true => assert!(ran.unwrap().success()),
                    false => assert_eq!(ran.unwrap_err().kind(), ErrorKind::PermissionDenied),
                }
                let refused = |family| {
                    let made = socket(family, SockType::Datagram, SockFlag::empty(), None);
                    made.map(drop) == Err(nix::Error::EPERM)
                };
                // Alg and Vsock may not be there at all; then they are refused all the same.
                assert!(refused(AddressFamily::Alg) && refused(AddressFamily::Vsock));
                assert!(!refused(AddressFamily::Inet) && !refused(AddressFamily::Unix));
                assert_eq!(nix::unistd::chroot("/"), Err(nix::Error::EPERM));
                let denied = nix::unistd::sethostname("evil.example");
                assert_eq!(denied, Err(nix::Error::EPERM));
                // Files, threads, name look-ups and connections go on.
                assert!(std::fs::read("/etc/passwd").is_ok());
                assert_eq!(std::thread::spawn(|| 1).join().unwrap(), 1);
                let listener = TcpListener::bind("localhost:0").unwrap();
                assert!(std::net::TcpStream::connect(listener.local_addr().unwrap()).is_ok());
                assert!(nix::unistd::User::from_name("root").is_ok());
            });
            thread.join().unwrap();
        }
    }

    /// What the kernel makes of a call, with this as its first argument: 0, or the error (Documentation/networking/filter.rst).
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))]
    fn verdict(program: &[seccompiler::sock_filter], call: i64, first: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            let taken = match step.code {
                0x20 => {
                    value = match step.k {
                        0 => u32::try_from(call).unwrap(),
                        // The architecture: the one that is asked for first.
                        4 => program[1].k,
                        16 => first,
                        // Its upper half, and all other arguments.
                        _ => 0,
                    };
                    at += 1;
                    continue;
                }
                0x54 => {
                    value &= step.k;
                    at += 1;
                    continue;
                }
                0x06 if step.k == 0x7fff_0000 => return 0,
                0x06 => return step.k & 0xffff,
                0x05 => {
                    at += 1 + step.k as usize;
                    continue;
                }
                0x15 => value == step.k,
                0x25 => value > step.k,
                0x35 => value >= step.k,
                code => panic!("{code:x}"),
            };
            at += 1 + usize::from(if taken { step.jt } else { step.jf });
        }
    }

    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))]
    #[test]
    fn no_world_of_its_own_is_begun() {
        use nix::libc::{self, c_int, c_long};
        const DENIED: u32 = libc::EPERM.unsigned_abs();
        let program = filter::program(false).unwrap();
        let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_THREAD;
        // A call, its first argument, what comes of it.
        let rows: &[(c_long, c_int, u32)] = &[
            (libc::SYS_clone, libc::SIGCHLD, 0),
            (libc::SYS_clone, thread, 0),
            (libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, DENIED),
            (libc::SYS_clone, libc::CLONE_NEWNET, DENIED),
            (libc::SYS_clone, libc::CLONE_NEWPID | thread, DENIED),
            (libc::SYS_unshare, libc::CLONE_NEWUSER, DENIED),
            (libc::SYS_execve, 0, DENIED),
            (libc::SYS_socket, libc::AF_INET, 0),
            (libc::SYS_socket, libc::AF_ALG, DENIED),
            (libc::SYS_read, 0, 0),
        ];
        for (call, first, expected) in rows {
            let first = first.unsigned_abs();
            assert_eq!(
                verdict(&program, *call, first),
                *expected,
                "{call} {first:x}"
            );
        }
        let without = filter::without_clone3().unwrap();
        let missing = libc::ENOSYS.unsigned_abs();
        assert_eq!(verdict(&without, libc::SYS_clone3, 0), missing);
        assert_eq!(verdict(&without, libc::SYS_clone, 0), 0);
    }
}
