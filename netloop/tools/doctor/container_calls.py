"""What Docker lets a container call unless told otherwise: the system calls of its default seccomp profile, by subject.

The facts are those of Docker's profile as of 2026, which allows no io_uring. Names that a kernel or a processor does
not have do no harm there; they are left out when the filter is made.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ALWAYS",
    "ARCHITECTURES",
    "FAMILIES",
    "NAMESPACES",
    "PERSONALITIES",
    "SINCE_LINUX_4_8",
    "WITH_ARCHITECTURE",
    "WITH_CAPABILITY",
]

ALWAYS: Final = {
    "files": """
        access chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
        fadvise64_64 fallocate fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fsync
        ftruncate ftruncate64 ioctl lchown lchown32 link linkat mknod mknodat name_to_handle_at open openat openat2
        readlink readlinkat rename renameat renameat2 symlink symlinkat sync sync_file_range syncfs truncate truncate64
        umask unlink unlinkat""",
    "reading and writing": """
        _llseek lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice
        tee vmsplice write writev cachestat""",
    "directories and file systems": """
        chdir fchdir fstatfs fstatfs64 getcwd getdents getdents64 listmount mkdir mkdirat rmdir statfs statfs64
        statmount""",
    "attributes of files": """
        fgetxattr flistxattr fremovexattr fsetxattr fstat fstat64 fstatat64 futimesat getxattr getxattrat lgetxattr
        listxattr listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 newfstatat removexattr removexattrat
        setxattr setxattrat stat stat64 statx utime utimensat utimensat_time64 utimes""",
    "watching files": """
        fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch""",
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
        mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease
        remap_file_pages""",
    "waiting": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
        eventfd2 _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select""",
    "asynchronous input and output, the kind before io_uring": """
        io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit""",
    "sockets and pipes": """
        accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recv recvfrom recvmmsg
        recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair""",
    "messages, semaphores and memory of System V and POSIX": """
        ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
        mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt
        shmget""",
    "locks between threads": """
        futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list rseq set_robust_list""",
    "time": """
        adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
        clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
        timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
        timerfd_gettime64 timerfd_settime timerfd_settime64 times""",
    "signals": """
        kill pause pidfd_open pidfd_send_signal restart_syscall rt_sigaction rt_sigpending rt_sigprocmask
        rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack
        signalfd signalfd4 sigprocmask sigreturn tgkill tkill""",
    "processes": """
        execve execveat exit exit_group fork getpgid getpgrp getpid getppid getrusage getsid gettid prctl setpgid setsid
        set_tid_address uretprobe vfork wait4 waitid waitpid""",
    "threads of a processor": """
        get_thread_area riscv_hwprobe set_thread_area""",
    "users, groups and capabilities": """
        capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
        getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
        setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid
        setuid32""",
    "limits, priorities and the scheduler": """
        getcpu getpriority getrlimit ioprio_get ioprio_set prlimit64 sched_getaffinity sched_getattr sched_getparam
        sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
        sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        setpriority setrlimit ugetrlimit""",
    "the system, and giving up rights": """
        getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp sysinfo uname""",
}
"""What every container may call."""

SINCE_LINUX_4_8: Final = "process_vm_readv process_vm_writev ptrace"
"""What every container may call on later kernels: before, a traced process could get past its filter."""

WITH_CAPABILITY: Final = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
        lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
        sethostname setns syslog umount umount2 unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}
"""What a container may call that was given a capability."""

WITH_ARCHITECTURE: Final = {
    ("amd64", "x32"): "arch_prctl",
    ("amd64", "x32", "x86"): "modify_ldt",
    ("arm", "arm64"): "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ("ppc64le",): "swapcontext sync_file_range2",
    ("riscv64",): "riscv_flush_icache",
    ("s390", "s390x"): "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}
"""What a container on some processors may call besides."""

FAMILIES: Final = (
    *range(1, 12),  # up to AF_ROSE: AF_UNIX, AF_INET and AF_INET6 are among them
    *(13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45),
)
"""The address families of socket(2) that are open. Not AF_ALG (38), AF_VSOCK (40), or what Linux has given up."""

PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""The arguments of personality(2) that are open: 64 or 32 bits, each also with an old release's name, or a query."""

NAMESPACES: Final = 0x7E020000
"""The flags of clone(2) that make a namespace, CLONE_NEWNS to CLONE_NEWNET: none may be set without CAP_SYS_ADMIN."""

ARCHITECTURES: Final = {
    "X86_64": ("X86", "X32"),
    "AARCH64": ("ARM",),
    "MIPS64": ("MIPS", "MIPS64N32"),
    "MIPS64N32": ("MIPS", "MIPS64"),
    "MIPSEL64": ("MIPSEL", "MIPSEL64N32"),
    "MIPSEL64N32": ("MIPSEL", "MIPSEL64"),
    "S390X": ("S390",),
    "RISCV64": (),
    "LOONGARCH64": (),
}
"""The processors, each with those whose programs it runs too."""
