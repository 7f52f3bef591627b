"""The only door to the host: everything that the program does not determine comes through here.

Model only.  This room knows descriptors, bytes, numbers and names; it knows no vnode and no process, and stands below
kern.  Whoever records a run, or plays one back, does it here.  tests/unit/test_host_door.py holds that no other module
of kernel_model reaches the host, and that this list is whole:

=======  ============================================================  ==============================================
module   calls                                                         the host's facility
=======  ============================================================  ==============================================
clock    HostClock: nanotime nanouptime cputime sleep                  clock_gettime(2), nanosleep(2)
random   HostRandom: randbytes                                         getrandom(2)
poll     ready_events; Waiter: ready wait                              poll(2)
streams  stream_mode stream_offset set_stream_offset is_regular        fcntl(2), lseek(2), fstat(2)
         same_open_file is_terminal stream_ioctl stream_path           isatty(3), ioctl(2), readlink(2)
memory   memfd; SwapFile: write read                                   memfd_create(2); a temporary file
files    realpath getcwd umask mounts                                  paths, umask(2), /proc/self/mountinfo
         open_root open_path open_reader open_writer close             openat(2), close(2)
         preadv pwritev readv writev truncate allocate sync            the calls of these names
         next_data next_hole                                           lseek(2)
         fstat stat_at statvfs birthtime may chown chmod utimes        fstatat(2), statx(2), access(2), utimensat(2)
         readlink listdir create mkdir mkfifo symlink link unlink      the ...at(2) calls of these names
         rmdir rename
errors   host_error                                                    the one translation of the host's errno
=======  ============================================================  ==============================================

Two things of the host are not here, because they bring nothing in: the machine's RAM, anonymous memory that
vm/vm_phys.py asks for, and pure arithmetic of the os module (os.fsencode, os.makedev and the like).
"""
