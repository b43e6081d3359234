// A .tflite file, ready to run on LiteRT's CPU kernels: load, fill with seeded random inputs, run, peak memory.
//
// The declarations are those of LiteRT 2.3's public C API (litert/c/*.h), written out because its wheel ships the
// library without headers. Handles are opaque pointers, a status is 0 when all went well.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void *Handle;
typedef struct {          // LiteRtRankedTensorType: 72 bytes
  int32_t element_type;   // one of the enum below
  uint32_t rank;          // the low 7 bits
  int32_t dimensions[8];
  uint32_t strides[8];
} TensorType;
enum { FLOAT32 = 1, UINT8 = 3, INT8 = 9, CPU = 1, READ = 0, WRITE = 1, MAX_TENSORS = 8 };

int LiteRtCreateEnvironment(int count, const void *options, Handle *environment);
int LiteRtCreateModelFromFile(Handle environment, const char *path, Handle *model);
int LiteRtCreateOptions(Handle *options);
int LiteRtSetOptionsHardwareAccelerators(Handle options, int accelerators);
int LiteRtCreateOpaqueOptions(const char *identifier, void *payload, void (*destroy)(void *), Handle *opaque);
int LiteRtAddOpaqueOptions(Handle options, Handle opaque);
int LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle *compiled);
int LiteRtCompiledModelIsFullyAccelerated(Handle compiled, bool *fully);
int LiteRtGetNumModelSignatures(Handle model, size_t *count);
int LiteRtGetModelSignature(Handle model, size_t index, Handle *signature);
int LiteRtGetSignatureKey(Handle signature, const char **key);
int LiteRtGetNumSignatureInputs(Handle signature, size_t *count);
int LiteRtGetNumSignatureOutputs(Handle signature, size_t *count);
int LiteRtGetSignatureInputTensorByIndex(Handle signature, size_t index, Handle *tensor);
int LiteRtGetSignatureOutputTensorByIndex(Handle signature, size_t index, Handle *tensor);
int LiteRtGetRankedTensorType(Handle tensor, TensorType *type);
int LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle *wanted);
int LiteRtGetCompiledModelOutputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle *wanted);
int LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const TensorType *type, Handle wanted,
                                                    Handle *buffer);
int LiteRtLockTensorBuffer(Handle buffer, void **address, int mode);
int LiteRtUnlockTensorBuffer(Handle buffer);
int LiteRtRunCompiledModel(Handle compiled, size_t signature, size_t inputs, Handle *in, size_t outputs, Handle *out);

typedef struct {
  Handle compiled, in[MAX_TENSORS], out[MAX_TENSORS];
  size_t signature, inputs, outputs, output_elements;  // output_elements: of the first output, float32
  bool fully_delegated;
} Session;

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

// A line of /proc/self/status, in KiB; 0 when it is not there. Not getrusage: its peak is the parent's before exec.
static long status_kb(const char *name) {
  char line[256];
  long found = 0;
  FILE *status = fopen("/proc/self/status", "r");
  if (!status) return 0;
  while (!found && fgets(line, sizeof line, status))
    if (!strncmp(line, name, strlen(name))) found = atol(line + strlen(name));
  fclose(status);
  return found;
}

static long peak_rss_kb(void) { return status_kb("VmHWM:"); }

// A step's status, or the end of the process with the step's name.
#define MUST(step)                                                     \
  do {                                                                 \
    int status_ = (step);                                              \
    if (status_) fprintf(stderr, "ERROR: %s: %d\n", #step, status_), exit(1); \
  } while (0)

static size_t elements(const TensorType *type) {
  size_t count = 1;
  for (uint32_t axis = 0; axis < (type->rank & 0x7f); ++axis) count *= (size_t)type->dimensions[axis];
  return count;
}

// Uniform: floats in -1..1, 8-bit values over their whole range. XNNPACK's time does not depend on the values, but
// denormals would be slow.
static void fill(Handle buffer, const TensorType *type, uint32_t *seed) {
  void *values;
  bool bytes = type->element_type == UINT8 || type->element_type == INT8;
  if (!bytes && type->element_type != FLOAT32)
    fprintf(stderr, "ERROR: an input is neither float32 nor uint8 nor int8\n"), exit(1);
  MUST(LiteRtLockTensorBuffer(buffer, &values, WRITE));
  for (size_t index = 0, count = elements(type); index < count; ++index) {
    *seed = *seed * 1664525u + 1013904223u;
    if (bytes) ((uint8_t *)values)[index] = (uint8_t)(*seed >> 24);
    else ((float *)values)[index] = (float)(*seed >> 8) / (1 << 23) - 1;
  }
  MUST(LiteRtUnlockTensorBuffer(buffer));
}

static void keep(void *payload) { (void)payload; }

// The number of the signature called `name`, the only one's for NULL, or the end.
static size_t find_signature(Handle model, const char *name, Handle *signature) {
  size_t count;
  const char *key;
  MUST(LiteRtGetNumModelSignatures(model, &count));
  for (size_t index = 0; index < count; ++index) {
    MUST(LiteRtGetModelSignature(model, index, signature));
    MUST(LiteRtGetSignatureKey(*signature, &key));
    if (name ? !strcmp(name, key) : count == 1) return index;
  }
  fprintf(stderr, "ERROR: %s\n", name ? "the file has no signature of that name" : "the file has several signatures");
  exit(1);
}

// `name`: of the signature that runs, NULL in a file that has one.
static Session open_session(const char *path, const char *name, int threads, bool use_xnnpack, bool force_fp16) {
  static char cpu_options[128];
  Session session = {0};
  Handle environment, model, options, opaque, signature, tensor, wanted;
  TensorType type;
  uint32_t seed = 0;
  int length = snprintf(cpu_options, sizeof cpu_options, "num_threads = %d\n", threads);
  if (!use_xnnpack) snprintf(cpu_options + length, sizeof cpu_options - length, "kernel_mode = \"builtin\"\n");
  if (force_fp16) snprintf(cpu_options + length, sizeof cpu_options - length, "flags = 15\n");
  MUST(LiteRtCreateEnvironment(0, NULL, &environment));
  MUST(LiteRtCreateModelFromFile(environment, path, &model));
  MUST(LiteRtCreateOptions(&options));
  MUST(LiteRtSetOptionsHardwareAccelerators(options, CPU));
  MUST(LiteRtCreateOpaqueOptions("xnnpack", cpu_options, keep, &opaque));
  MUST(LiteRtAddOpaqueOptions(options, opaque));
  MUST(LiteRtCreateCompiledModel(environment, model, options, &session.compiled));
  MUST(LiteRtCompiledModelIsFullyAccelerated(session.compiled, &session.fully_delegated));
  session.signature = find_signature(model, name, &signature);
  MUST(LiteRtGetNumSignatureInputs(signature, &session.inputs));
  MUST(LiteRtGetNumSignatureOutputs(signature, &session.outputs));
  if (session.inputs > MAX_TENSORS || session.outputs > MAX_TENSORS) fprintf(stderr, "ERROR: more than 8 tensors\n"), exit(1);
  for (size_t index = 0; index < session.inputs; ++index) {
    MUST(LiteRtGetSignatureInputTensorByIndex(signature, index, &tensor));
    MUST(LiteRtGetRankedTensorType(tensor, &type));
    MUST(LiteRtGetCompiledModelInputBufferRequirements(session.compiled, session.signature, index, &wanted));
    MUST(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, wanted, &session.in[index]));
    fill(session.in[index], &type, &seed);
  }
  for (size_t index = 0; index < session.outputs; ++index) {
    MUST(LiteRtGetSignatureOutputTensorByIndex(signature, index, &tensor));
    MUST(LiteRtGetRankedTensorType(tensor, &type));
    MUST(LiteRtGetCompiledModelOutputBufferRequirements(session.compiled, session.signature, index, &wanted));
    MUST(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, wanted, &session.out[index]));
    if (!index) session.output_elements = type.element_type == FLOAT32 ? elements(&type) : 0;
  }
  return session;
}

// One inference.
static void run_unmeasured(Session *session) {
  MUST(LiteRtRunCompiledModel(session->compiled, session->signature, session->inputs, session->in, session->outputs,
                              session->out));
}

// One inference; its time in microseconds.
static int64_t run_session(Session *session) {
  int64_t start = now_us();
  run_unmeasured(session);
  return now_us() - start;
}
