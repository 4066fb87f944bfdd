"""The system calls denied to a program: a seccomp filter for x86-64 and AArch64.

Part of the inside of the sandbox; uses only the standard library. What is denied either reaches outside (sockets of
every family, signalling and debugging other processes, System V shared memory), bypasses a limit (files in memory,
io_uring) or exposes parts of the kernel that no solution to a problem needs (namespaces, mounts, BPF, keys).
"""

import ctypes
import errno
import os
import platform
import struct

_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _DENY, _ABSENT, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in what the filter sees
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW* in the flags of clone
_SOCK_STREAM, _SOCK_TYPE = 1, 0xF

# Name: its number on x86-64 and on AArch64.
_DENIED = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendmsg": (46, 211), "sendmmsg": (307, 269), "recvmsg": (47, 212),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "move_pages": (279, 239),
    "migrate_pages": (256, 238), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "personality": (135, 92), "syslog": (103, 116),
    "acct": (163, 89), "quotactl": (179, 60), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225),
}  # fmt: skip
# Calls that change files by path without opening them, which Landlock does not cover; -1: does not exist.
_PATHS = {
    "truncate": (76, 45), "chmod": (90, -1), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "setxattrat": (463, 463), "removexattrat": (466, 466),
}  # fmt: skip
_CLONE, _CLONE3, _SENDTO, _SOCKETPAIR, _PRLIMIT = (56, 220), (435, 435), (44, 206), (53, 199), (302, 261)
_KILLS = ((62, 129), (200, 130), (234, 131))  # kill, tkill, tgkill: each takes a process or thread id first
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def filter_calls(*, own_signals_only: bool, no_changes_by_path: bool) -> bool:
    """Deny these system calls to this process and all it starts, permanently; return whether the kernel does so.

    Args:
        own_signals_only: let a process signal only itself, for when nothing else protects the user's other processes.
            It then cannot kill its own children.
        no_changes_by_path: deny `chmod` and the like, for when nothing else protects the user's other files.
    """
    if platform.machine() not in _MACHINES or struct.calcsize("P") != 8:
        return False
    which, architecture = _MACHINES[platform.machine()]
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_JUMP_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL)]
    program += [(_LOAD, 0, 0, _NUMBER), (_JUMP_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _DENY)]  # no other ABI
    denied = [*_DENIED.values(), *(_PATHS.values() if no_changes_by_path else ())]
    for numbers in (pair for pair in denied if pair[which] >= 0):
        program += [(_JUMP_EQUAL, 0, 1, numbers[which]), (_RETURN, 0, 0, _DENY)]
    # The flags of clone3 are in memory, which a filter cannot read; without clone3, libraries use clone.
    program += [(_JUMP_EQUAL, 0, 1, _CLONE3[which]), (_RETURN, 0, 0, _ABSENT)]
    program += _unless(_CLONE[which], 0, [(_JUMP_SET, 0, 1, _NEW_NAMESPACES), (_RETURN, 0, 0, _DENY)])
    # A connected stream pair only joins a program's own parts; a datagram socket of a pair could send anywhere.
    kind = [(0x54, 0, 0, _SOCK_TYPE), (_JUMP_EQUAL, 1, 0, _SOCK_STREAM), (_RETURN, 0, 0, _DENY)]
    program += _unless(_SOCKETPAIR[which], 1, kind)
    for half in (0, 4):  # an address is a 64-bit pointer
        program += _unless(_SENDTO[which], 4, [(_JUMP_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _DENY)], half)
    program += _unless(_PRLIMIT[which], 0, [(_JUMP_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _DENY)])
    if own_signals_only:
        for numbers in _KILLS:
            program += _unless(numbers[which], 0, [(_JUMP_EQUAL, 1, 0, os.getpid()), (_RETURN, 0, 0, _DENY)])
    program.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    space = ctypes.create_string_buffer(code, len(code))
    description = struct.pack("=HxxxxxxQ", len(program), ctypes.addressof(space))
    libc = ctypes.CDLL(None, use_errno=True)
    pointer = ctypes.c_char_p(description)
    return libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, pointer, 0, 0) == 0


Line = tuple[int, int, int, int]


def _unless(number: int, argument: int, check: list[Line], half: int = 0) -> list[Line]:
    """Return lines that run `check` on half of an argument of call `number`, then load the call's number again."""
    lines = [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument + half), *check, (_LOAD, 0, 0, _NUMBER)]
    return [(_JUMP_EQUAL, 0, len(lines), number), *lines]
