#!/bin/busybox sh
# The machine's first program. The host's files become the root; what is written over them stays in this machine's
# memory. Then the job runs, and the machine is switched off.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    insmod "$module"
done
mount -t virtiofs -o ro host /host && mount -t tmpfs own /own && mkdir /own/upper /own/work &&
    mount -t overlay -o lowerdir=/host,upperdir=/own/upper,workdir=/own/work root /root ||
    { echo 'the root could not be mounted'; poweroff -f; }
for place in proc sys dev; do
    mount --move /$place /root/$place
done
mount -t tmpfs run /root/run
mkdir -p /root/dev/shm /root/dev/pts /root/run/tmp
mount -t tmpfs shm /root/dev/shm
mount -t devpts -o ptmxmode=666 pts /root/dev/pts
ln -s /proc/self/fd /root/dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do
    ln -s /proc/self/fd/${stream%%:*} /root/dev/${stream#*:}
done
ip link set lo up
hostname "$(uname -r)"
cp /job /bin/busybox /root/run/
exec switch_root /root /bin/bash /run/job
