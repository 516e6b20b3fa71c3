/* A QEMU plugin (its plugin API, version 1) that counts a guest's AArch64 instructions between two marks.

   A mark is a system call that no kernel has (MARK, see runner/main.c): with 1 an interval begins, with 0 it ends, and
   its counts are written as a line to the file that `out=FILE` names: all instructions, those of the SIMD and floating
   point unit that compute, those that are dot products, those that load, those that store. An instruction counts when
   it is executed, however often. Of the API only what is called here is declared. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t id_t_;
struct tb;
struct insn;
enum inline_op { ADD_U64 = 0 };

typedef void (*translated)(id_t_, struct tb *);
typedef void (*called)(id_t_, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(id_t_, translated);
void qemu_plugin_register_vcpu_syscall_cb(id_t_, called);
void qemu_plugin_register_vcpu_tb_exec_inline(struct tb *, enum inline_op, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct tb *);
struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
const void *qemu_plugin_insn_data(const struct insn *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { INSTRUCTIONS, SIMD, DOT_PRODUCTS, LOADS, STORES, KINDS };
enum { MARK = 57568 };

static uint64_t counted[KINDS], before[KINDS];
static FILE *out;

/* Whether a load-or-store encoding loads: Arm ARM DDI 0487, C4.1.88 to C4.1.96 "Loads and Stores". */
static bool loads(uint32_t code) {
  if (code >> 28 == 0 || (code & 0x3b000000) == 0x0c000000 || (code & 0x3b000000) == 0x0d000000)
    return code >> 22 & 1; /* SIMD structures: bit L */
  if ((code & 0x3b000000) == 0x18000000) return true; /* literal */
  if ((code & 0x3a000000) == 0x28000000) return code >> 22 & 1; /* pairs: bit L */
  if ((code & 0x3f000000) == 0x08000000) return code >> 22 & 1; /* exclusive and ordered: bit L */
  /* One register: opc is 0 of a store, and for vectors 2 of a store of 128 bits. */
  uint32_t opc = code >> 22 & 3;
  return code >> 26 & 1 ? opc & 1 : opc != 0;
}

/* SDOT, UDOT, USDOT and SUDOT, by vector and by element: C7.2. */
static bool is_dot_product(uint32_t code) {
  return (code & 0x9f20fc00) == 0x0e009400 /* by vector: size and U vary */
         || (code & 0x9f20fc00) == 0x0e009c00 /* USDOT */
         || (code & 0x9f00f400) == 0x0f00e000 /* by element */
         || (code & 0xbf00f400) == 0x0f00f000; /* USDOT and SUDOT by element */
}

static void translate(id_t_ id, struct tb *tb) {
  uint64_t found[KINDS] = {0};
  size_t number = qemu_plugin_tb_n_insns(tb);
  (void)id;
  for (size_t i = 0; i < number; i++) {
    uint32_t code;
    memcpy(&code, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof code);
    uint32_t group = code >> 25 & 15; /* C4.1, table C4-1 */
    found[INSTRUCTIONS]++;
    if (group == 7 || group == 15) found[SIMD]++, found[DOT_PRODUCTS] += is_dot_product(code);
    else if ((group & 5) == 4) found[loads(code) ? LOADS : STORES]++;
  }
  for (int kind = 0; kind < KINDS; kind++)
    if (found[kind] != 0) qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &counted[kind], found[kind]);
}

static void call(id_t_ id, unsigned cpu, int64_t number, uint64_t what, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                 uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != MARK) return;
  if (what == 1) {
    memcpy(before, counted, sizeof before);
    return;
  }
  for (int kind = 0; kind < KINDS; kind++)
    fprintf(out, "%llu%c", (unsigned long long)(counted[kind] - before[kind]), kind == KINDS - 1 ? '\n' : ' ');
  fflush(out);
}

EXPORT int qemu_plugin_install(id_t_ id, const void *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++)
    if (strncmp(argv[i], "out=", 4) == 0) out = fopen(argv[i] + 4, "w");
  if (out == NULL) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
  qemu_plugin_register_vcpu_syscall_cb(id, call);
  return 0;
}
