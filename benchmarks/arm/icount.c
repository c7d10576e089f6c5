/* Counts the instructions that a program executes under qemu's user emulation.
 *
 * Each thread of the guest counts for itself. A guest marks a place by writing to a file descriptor
 * that cannot exist:  os.write(0x7e000000 + tag, b"")  fails with EBADF on a board, does no harm, and
 * makes this plugin print
 *     icount TAG INSTRUCTIONS DOT_PRODUCTS
 * with the counts of the thread that wrote. DOT_PRODUCTS counts SDOT and UDOT.
 *
 * Build: gcc -O2 -shared -fPIC -o icount.so icount.c       Use: qemu-aarch64 -plugin ./icount.so ...
 * For API version 1, qemu 4.2 to 8; Debian 12 has 7.2 and no header, so the API is declared here
 * (qemu's docs/devel/tcg-plugins).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translate_cb)(plugin_id, struct qemu_plugin_tb *);
typedef void (*execute_cb)(unsigned int, void *);
typedef void (*syscall_cb)(plugin_id, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translate_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, execute_cb, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))
#define THREADS 64
#define BLOCKS (1 << 20)
#define MARK 0x7e000000u
#define SYS_WRITE 64 /* arm64 */

EXPORT int qemu_plugin_version = 1;

struct counts { uint64_t instructions, dot_products; };
static struct counts executed[THREADS];
static struct counts block[BLOCKS]; /* what one run of a translated block adds */
static unsigned blocks;

static int is_dot_product(uint32_t word)
{
    return (word & 0x9fe0fc00u) == 0x0e809400u     /* SDOT, UDOT: vector */
        || (word & 0x9fc0f400u) == 0x0f80e000u;    /* SDOT, UDOT: by element */
}

static void on_execute(unsigned int cpu, void *data)
{
    const struct counts *added = data;
    struct counts *mine = &executed[cpu % THREADS];
    mine->instructions += added->instructions;
    mine->dot_products += added->dot_products;
}

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb)
{
    (void)id;
    unsigned number = __atomic_fetch_add(&blocks, 1, __ATOMIC_RELAXED);
    if (number >= BLOCKS) {
        fputs("icount: too many translated blocks\n", stderr);
        __builtin_trap();
    }
    struct counts *added = &block[number];
    added->instructions = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < added->instructions; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof word);
        added->dot_products += is_dot_product(word);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execute, 0, added);
}

static void on_syscall(plugin_id id, unsigned int cpu, int64_t number, uint64_t fd, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == SYS_WRITE && (uint32_t)fd >= MARK && (uint32_t)fd < MARK + 0x1000000u) {
        const struct counts *mine = &executed[cpu % THREADS];
        fprintf(stderr, "icount %u %llu %llu\n", (uint32_t)fd - MARK,
                (unsigned long long)mine->instructions, (unsigned long long)mine->dot_products);
    }
}

struct qemu_info;
EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
