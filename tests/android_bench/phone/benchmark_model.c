// TFLite's benchmark_model as far as the adb runner needs it: its flags, its words, real inferences on LiteRT.
//
// The real program is not to be had from a package registry; its output, recorded from many builds, is what the
// parser's own tests read. This one takes its place on the small phone.
#include <string.h>

#include "session.h"

static const char *graph = "", *signature = NULL, *xnnpack = "true", *fp16 = "false";
static int runs = 50, warmup_runs = 1, threads = 1;

static bool known(const char *flag) {
  const struct {
    const char *name, **text;
    int *number;
  } flags[] = {
      {"--graph=", &graph, NULL},           {"--num_runs=", NULL, &runs},
      {"--warmup_runs=", NULL, &warmup_runs}, {"--num_threads=", NULL, &threads},
      {"--use_xnnpack=", &xnnpack, NULL},   {"--min_secs=", NULL, NULL},
      {"--max_secs=", NULL, NULL},          {"--warmup_min_secs=", NULL, NULL},
#ifndef OLD_BUILD
      {"--xnnpack_force_fp16=", &fp16, NULL}, {"--signature_to_run_for=", &signature, NULL},
#endif
  };
  for (size_t index = 0; index < sizeof flags / sizeof *flags; ++index) {
    size_t length = strlen(flags[index].name);
    if (strncmp(flag, flags[index].name, length)) continue;
    if (flags[index].text) *flags[index].text = flag + length;
    if (flags[index].number) *flags[index].number = atoi(flag + length);
    return true;
  }
  return false;
}

static int by_value(const void *left, const void *right) {
  int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
  return (a > b) - (a < b);
}

// What StatWithPercentiles prints: `first` and the rest only where values differ.
static int64_t measure(Session *session, int count) {
  int64_t *us = malloc((count + 1) * sizeof *us), first, last, sum = 0;
  if (!count) return printf("INFO: count=0\n\n"), 0;
  printf("INFO: Running benchmark for at least %d iterations and at least 0 seconds but terminate if exceeding 3600 seconds.\n", count);
  for (int run = 0; run < count; ++run) sum += us[run] = run_session(session);
  first = us[0], last = us[count - 1];
  qsort(us, count, sizeof *us, by_value);
  if (us[0] == us[count - 1]) {
    printf("INFO: count=%d curr=%ld%s", count, (long)last, count > 1 ? "(all same)" : "");
  } else {
    printf("INFO: count=%d first=%ld curr=%ld min=%ld max=%ld avg=%g std=0", count, (long)first, (long)last, (long)us[0],
           (long)us[count - 1], (double)sum / count);
  }
  printf(" p5=%ld median=%ld p95=%ld\n\n", (long)us[count * 5 / 100], (long)us[count / 2], (long)us[count * 95 / 100]);
  return first;
}

int main(int count, char **words) {
  printf("INFO: STARTING!\n");
  for (int index = 1; index < count; ++index)
    if (!known(words[index])) printf("WARN: Unconsumed cmdline flags: %s\n", words[index]);
  printf("INFO: Log parameter values verbosely: [0]\nINFO: Graph: [%s]\nINFO: Loaded model %s\n", graph, graph);
  long before_kb = peak_rss_kb();
  int64_t start = now_us();
  Session session = open_session(graph, signature, threads, !strcmp(xnnpack, "true"), !strcmp(fp16, "true"));
  int64_t init_us = now_us() - start;
  long init_kb = peak_rss_kb() - before_kb;
  if (!strcmp(xnnpack, "true"))
    printf("INFO: Explicitly applied XNNPACK delegate, and the model graph will be %s the delegate%s.\n",
           session.fully_delegated ? "completely executed by" : "partially executed by",
           session.fully_delegated ? "" : " w/ 2 delegate kernels");
  printf("INFO: Initialized session in %gms.\n", init_us / 1e3);
  fflush(stdout);
  int64_t first = measure(&session, warmup_runs);
  measure(&session, runs);
  printf("INFO: Inference timings in us: Init: %ld, First inference: %ld, Warmup (avg): %ld, Inference (avg): 0\n",
         (long)init_us, (long)first, (long)first);
  printf("INFO: Memory footprint delta from the start of the tool (MB): init=%g overall=%g\n", init_kb / 1024.0,
         (peak_rss_kb() - before_kb) / 1024.0);
  return 0;
}
