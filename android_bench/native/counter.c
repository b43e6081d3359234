// A plugin for qemu-aarch64 that counts executed instructions by kind, and writes its counters at every mark.
//
// A mark is sched_yield with MARK as an argument that the kernel ignores: the program under test says where a run
// begins and ends, so that neither start-up nor packing of weights counts. Adding happens in the translated code
// itself, once per block of instructions and kind. One thread: the counters are not atomic.
//
// The declarations are those of version 1 of qemu's plugin API (qemu-plugin.h), which Debian ships without.
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "instructions.h"
#include "mark.h"

struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0, SCHED_YIELD = 124 };
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int op, void *counter, uint64_t add);
void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, void (*call)(uint64_t, unsigned, int64_t, uint64_t, uint64_t,
                                                                    uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                                    uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t counted[KINDS];
static FILE *out;

static void translated(uint64_t id, struct qemu_plugin_tb *block) {
  uint64_t here[KINDS] = {qemu_plugin_tb_n_insns(block)};
  (void)id;
  for (size_t index = 0; index < here[TOTAL]; ++index) {
    uint32_t code;
    memcpy(&code, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, index)), sizeof code);
    ++here[kind_of(code)];
  }
  for (int kind = 0; kind < KINDS; ++kind)
    if (here[kind]) qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counted[kind], here[kind]);
}

static void called(uint64_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != SCHED_YIELD || a1 != MARK) return;
  for (int kind = 0; kind < KINDS; ++kind)
    fprintf(out, "%s\"%s\":%" PRIu64, kind ? "," : "{", names[kind], counted[kind]);
  fprintf(out, "}\n");
  fflush(out);
}

// The one option: out=PATH, where to write.
__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int count, char **options) {
  (void)info;
  if (count != 1 || strncmp(options[0], "out=", 4) || !(out = fopen(options[0] + 4, "w")))
    return fprintf(stderr, "ERROR: the counter needs out=PATH of a file that it can write\n"), 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
