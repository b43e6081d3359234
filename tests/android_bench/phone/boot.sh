# Boots the small phone; runs inside namespaces of its own, as their first process.
# $1: unpacked packages, $2: qemu-aarch64, $3: ARM libraries, $4: this folder, $5: options of /data's mount,
# $6: the daemons' command line
set -eu
root=$(mktemp -d)
mount -t tmpfs -o mode=755,size=16m phone "$root"
cd "$root"
mkdir -p system/bin system/lib64 data dev/pts lib lib64 proc sys/devices/system/cpu tmp usr
ln -s system/bin bin

for folder in lib64 usr; do mount --rbind "$1/$folder" "$folder"; done
mount --rbind "$1/lib" lib
mount -t tmpfs arm system/lib64
cp "$3"/*.so* system/lib64
cp "$1/bin/busybox" "$4"/system/* system/bin
chmod 755 system/bin/*
chroot . /system/bin/busybox --install -s /system/bin

mount -t proc proc proc
printf 'processor\t: 0\nFeatures\t: fp asimd crc32 atomics fphp asimdhp asimddp\n' > cpuinfo
mount --bind cpuinfo proc/cpuinfo
last=$(($(chroot . /system/bin/nproc) - 1))
for index in $(chroot . /system/bin/seq 0 "$last"); do
  clock=sys/devices/system/cpu/cpu$index/cpufreq
  mkdir -p "$clock"
  echo schedutil > "$clock/scaling_governor"
  if [ "$index" = "$last" ]; then echo 2841600; else echo 1804800; fi > "$clock/cpuinfo_max_freq"
done
for list in possible present; do echo "0-$last" > "sys/devices/system/cpu/$list"; done
for node in null zero urandom random; do touch "dev/$node" && mount --bind "/dev/$node" "dev/$node"; done
mount -t devpts -o ptmxmode=666 devpts dev/pts && ln -s pts/ptmx dev/ptmx

mount -t tmpfs -o "$5" data data
mkdir -p data/local/tmp
mount -t binfmt_misc none proc/sys/fs/binfmt_misc
echo ':arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$2"':F' \
  > proc/sys/fs/binfmt_misc/register
chroot . /system/bin/ip link set lo up

# The first process stays until its input ends; everything in the namespaces ends with it.
exec chroot . /system/bin/env -i PATH=/system/bin HOME=/data/local/tmp LD_LIBRARY_PATH=/system/lib64 QEMU_CPU=cortex-a76 \
  sh -c "{ $6; } > /tmp/adbd.log 2>&1 & echo booted; exec cat"
