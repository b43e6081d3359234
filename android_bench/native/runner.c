// Times a .tflite file on LiteRT and prints one JSON object a line: what was opened, every run, what it took.
//
//   runner --graph=FILE [--signature=NAME] [--num_runs=10] [--warmup_runs=1] [--num_threads=1] [--force_fp16] [--mark]
//
// For phones where no benchmark_model is at hand, and for counting instructions under emulation: with --mark, runs,
// warm-up included, are not timed but lie between two marks of mark.h. It runs on the CPUs that it is started on
// (taskset) and says which they were. An unknown option is an error. Lines are printed after the last run, so that
// nothing is written while one is timed.
#define _GNU_SOURCE
#include <math.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mark.h"
#include "session.h"

enum { MOST_RUNS = 100000, SHOWN = 8, FP16_VECTORS = 1 << 10 };  // the last: HWCAP_ASIMDHP
static const char *graph = NULL, *signature = NULL;  // the second: of a file that has several
static int runs = 10, warmup_runs = 1, threads = 1;
static bool force_fp16 = false, marked = false;

static void refuse(const char *why, const char *what) {
  fprintf(stderr, "ERROR: %s: %s\n", why, what);
  exit(2);
}

// A whole number in `low..high`, or the end.
static int whole(const char *text, int low, int high) {
  char *end;
  long value = strtol(text, &end, 10);
  if (!*text || *end || value < low || value > high) refuse("not a number in range", text);
  return (int)value;
}

static void read_option(const char *word) {
  const char *equals = strchr(word, '='), *value = equals ? equals + 1 : "";
  size_t length = equals ? (size_t)(equals - word) : strlen(word);
#define IS(name) (length == strlen(name) && !strncmp(word, name, length))
  if (equals && IS("--graph")) graph = value;
  else if (equals && IS("--signature")) signature = value;
  else if (equals && IS("--num_runs")) runs = whole(value, 1, MOST_RUNS);
  else if (equals && IS("--warmup_runs")) warmup_runs = whole(value, 0, MOST_RUNS);
  else if (equals && IS("--num_threads")) threads = whole(value, 1, 64);
  else if (!equals && IS("--force_fp16")) force_fp16 = true;
  else if (!equals && IS("--mark")) marked = true;
  else refuse("an unknown option", word);
#undef IS
}

// The CPUs that this process may run on, as the kernel says.
static void print_cpus(void) {
  cpu_set_t set;
  const char *comma = "";
  if (sched_getaffinity(0, sizeof set, &set)) refuse("the kernel does not say", "this process's CPUs");
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) printf("%s%d", comma, cpu), comma = ",";
}

// The first values of the first output; the end when one is not finite.
static void print_output(Session *session) {
  float *values;
  size_t count = session->output_elements < SHOWN ? session->output_elements : SHOWN;
  MUST(LiteRtLockTensorBuffer(session->out[0], (void **)&values, READ));
  for (size_t index = 0; index < count; ++index) {
    if (!isfinite(values[index])) refuse("the output is not finite", graph);
    printf("%s%.9g", index ? "," : "", values[index]);
  }
  MUST(LiteRtUnlockTensorBuffer(session->out[0]));
}

static int64_t run_once(Session *session) {
  if (!marked) return run_session(session);
  syscall(SYS_sched_yield, MARK);
  run_unmeasured(session);
  syscall(SYS_sched_yield, MARK);
  return 0;
}

int main(int count, char **words) {
  for (int index = 1; index < count; ++index) read_option(words[index]);
  if (!graph) refuse("no --graph=FILE", "nothing to run");
  // XNNPACK would not refuse: it computes in FP32 there, and rounds to FP16 between operators.
  if (force_fp16 && !(getauxval(AT_HWCAP) & FP16_VECTORS)) refuse("no FP16 arithmetic to force", "on this CPU");
  int64_t *us = malloc((size_t)(warmup_runs + runs) * sizeof *us);
  if (!us) refuse("no memory", "for the samples");
  long before_kb = status_kb("VmRSS:");
  int64_t start = now_us();
  Session session = open_session(graph, signature, threads, true, force_fp16);
  int64_t init_us = now_us() - start;
  for (int run = 0; run < warmup_runs; ++run) us[run] = run_once(&session);
  for (int run = 0; run < runs; ++run) us[warmup_runs + run] = run_once(&session);
  long peak_kb = peak_rss_kb();
  printf("{\"event\":\"opened\",\"init_us\":%lld,\"fully_delegated\":%s,\"threads\":%d,\"cpus\":[", (long long)init_us,
         session.fully_delegated ? "true" : "false", threads);
  print_cpus();
  printf("]}\n");
  for (int run = 0; !marked && run < warmup_runs + runs; ++run)
    printf("{\"event\":\"%s\",\"us\":%lld}\n", run < warmup_runs ? "warmup" : "run", (long long)us[run]);
  printf("{\"event\":\"closed\",\"start_rss_kb\":%ld,\"peak_rss_kb\":%ld,\"output\":[", before_kb, peak_kb);
  print_output(&session);
  printf("]}\n");
  return 0;
}
