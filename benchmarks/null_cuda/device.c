/* A CUDA device that computes nothing: the functions of the runtime, the driver and cuBLAS that torch calls.

   Loaded before the real libraries, it lets torch run its whole CUDA path on a machine without a GPU: dispatcher, autocast,
   choice of kernels, caching allocator, compiler. Memory is address space that holds nothing. Kernels, products, copies
   and waits are counted by name; no result is right. It poses as an H100 (sm_90, 132 multiprocessors, 80 GB), or as one
   with NULL_CUDA_BYTES of memory. While a stream is recorded as a graph, what is asked of it has "recorded " before its
   name, and what is asked of another stream, which the graph would leave out, "not recorded ".

   What is not here is a stub that returns 0 (see __init__.py). Constants are those of the CUDA headers named beside them.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "driver_types.h"

#define OUT_OF_MEMORY 2  /* cudaErrorMemoryAllocation */
#define NOT_SUPPORTED 801 /* cudaErrorNotSupported */
#define RESERVED_BYTES 600000000ull /* what a context takes of a card */
#define H100_BYTES 85520000000ull
#define FILLED_BYTES (1 << 22)      /* larger copies and fills are counted only: pages that nobody touches cost nothing */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void end(const char *why) {
    fprintf(stderr, "null CUDA device: %s\n", why);
    abort();
}

/* ---- Counts: how often something happened, and how much of it ---- */

#define N_NAMES 65536
static int n_names;
static struct {
    char *name;
    long times;
    double amount;
} counts[N_NAMES];

static void *recording; /* the stream that is captured into a graph; what is asked for meanwhile is done when that is launched */

static void count_on(void *stream, const char *name, double amount) {
    char recorded[500];
    unsigned slot = 5381;
    if (recording) {
        snprintf(recorded, sizeof recorded, "%s %s", stream == recording ? "recorded" : "not recorded", name);
        name = recorded;
    }
    for (const char *c = name; *c; c++) slot = slot * 33 + (unsigned char)*c;
    pthread_mutex_lock(&lock);
    for (slot %= N_NAMES; counts[slot].name && strcmp(counts[slot].name, name); slot = (slot + 1) % N_NAMES) {}
    if (!counts[slot].name) {
        if (++n_names == N_NAMES) end("more names than it counts");
        counts[slot].name = strdup(name);
    }
    counts[slot].times++;
    counts[slot].amount += amount;
    pthread_mutex_unlock(&lock);
}

static void count(const char *name, double amount) { count_on(recording, name, amount); } /* of no stream */

void null_cuda_reset(void) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < N_NAMES; i++) counts[i].times = 0, counts[i].amount = 0;
    pthread_mutex_unlock(&lock);
}

/* One line each: times, amount, name, with tabs between. */
void null_cuda_report(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) end("its report cannot be written");
    for (int i = 0; i < N_NAMES; i++)
        if (counts[i].times) fprintf(file, "%ld\t%.0f\t%s\n", counts[i].times, counts[i].amount, counts[i].name);
    fclose(file);
}

/* Of a function of cuBLAS that is a stub: no product may go uncounted. */
void null_cuda_unknown(const char *name) {
    char text[200];
    snprintf(text, sizeof text, "unknown product %s", name);
    count(text, 0);
}

/* ---- Memory: which kind an address is of ---- */

enum kind { PAGEABLE, PINNED, DEVICE };
static const char *KINDS[] = {"pageable", "pinned", "device"};
#define N_BLOCKS 65536
static struct {
    char *start;
    size_t bytes;
    enum kind kind;
} blocks[N_BLOCKS];
static int n_blocks;
static size_t used;

static size_t card_bytes(void) {
    const char *given = getenv("NULL_CUDA_BYTES");
    return given ? strtoull(given, NULL, 10) : H100_BYTES;
}

static void remember(char *start, size_t bytes, enum kind kind) { /* with the lock held */
    int i = 0;
    while (i < n_blocks && blocks[i].start) i++;
    if (i == N_BLOCKS) end("more blocks of memory than it knows");
    if (i == n_blocks) n_blocks++;
    blocks[i].start = start, blocks[i].bytes = bytes, blocks[i].kind = kind;
    if (kind == DEVICE) used += bytes;
}

static int allocate(void **address, size_t bytes, enum kind kind) {
    *address = NULL;
    if (!bytes) return 0;
    if (kind == DEVICE && used + bytes > card_bytes() - RESERVED_BYTES) return OUT_OF_MEMORY;
    char *start = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    remember(start, bytes, kind);
    pthread_mutex_unlock(&lock);
    *address = start;
    return 0;
}

static int release(void *address, int unmap) {
    pthread_mutex_lock(&lock);
    for (int i = 0; address && i < n_blocks; i++)
        if (blocks[i].start == address) {
            if (unmap) munmap(address, blocks[i].bytes);
            if (blocks[i].kind == DEVICE) used -= blocks[i].bytes;
            blocks[i].start = NULL;
        }
    pthread_mutex_unlock(&lock);
    return 0;
}

static enum kind kind_of(const void *address) {
    enum kind kind = PAGEABLE;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_blocks; i++)
        if (blocks[i].start && (char *)address >= blocks[i].start && (char *)address < blocks[i].start + blocks[i].bytes)
            kind = blocks[i].kind;
    pthread_mutex_unlock(&lock);
    return kind;
}

static int copy(void *to, const void *from, size_t bytes, const char *how, void *stream) {
    char text[100];
    snprintf(text, sizeof text, "copy %s to %s, %s", KINDS[kind_of(from)], KINDS[kind_of(to)], how);
    count_on(stream, text, bytes);
    if (bytes <= FILLED_BYTES) memmove(to, from, bytes);
    return 0;
}

static int fill(void *to, int value, size_t bytes, void *stream) {
    count_on(stream, "fill", bytes);
    if (bytes <= FILLED_BYTES) memset(to, value, bytes);
    return 0;
}

int cudaMalloc(void **p, size_t n) { return allocate(p, n, DEVICE); }
int cudaMallocAsync(void **p, size_t n, void *stream) { return allocate(p, n, DEVICE); }
int cudaMallocManaged(void **p, size_t n, unsigned flags) { return allocate(p, n, DEVICE); }
int cudaGetSymbolAddress(void **p, const void *symbol) { return allocate(p, 4096, DEVICE); }
int cudaFree(void *p) { return release(p, 1); }
int cudaFreeAsync(void *p, void *stream) { return release(p, 1); }
int cudaHostAlloc(void **p, size_t n, unsigned flags) { return count("host allocation", n), allocate(p, n, PINNED); }
int cudaMallocHost(void **p, size_t n) { return cudaHostAlloc(p, n, 0); }
int cudaFreeHost(void *p) { return release(p, 1); }
int cudaHostUnregister(void *p) { return release(p, 0); }

static __thread int last_error; /* torch raises what it finds here after its next launch, and clears it */
int cudaPeekAtLastError(void) { return last_error; }
int cudaGetLastError(void) {
    int error = last_error;
    return last_error = 0, error;
}

int cudaHostRegister(void *p, size_t n, unsigned flags) {
    count("host registration", n);
    if (getenv("NULL_CUDA_LOCKS_NO_MEMORY")) return last_error = NOT_SUPPORTED;
    pthread_mutex_lock(&lock);
    remember(p, n, PINNED);
    pthread_mutex_unlock(&lock);
    return 0;
}

int cudaMemGetInfo(size_t *available, size_t *total) {
    *total = card_bytes();
    *available = card_bytes() - used - RESERVED_BYTES;
    return 0;
}
int cuMemGetInfo_v2(size_t *available, size_t *total) { return cudaMemGetInfo(available, total); }

int cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *p) {
    memset(attributes, 0, sizeof *attributes);
    attributes->type = (enum cudaMemoryType)kind_of(p); /* the same order as ours */
    attributes->devicePointer = attributes->hostPointer = (void *)p;
    return 0;
}
int cuPointerGetAttribute(void *value, int attribute, unsigned long long p) {
    int is_address = attribute == 1 || attribute == 3; /* CU_POINTER_ATTRIBUTE_CONTEXT, _DEVICE_POINTER */
    *(unsigned long long *)value = is_address ? p : 0;
    return 0;
}

int cudaMemcpy(void *to, const void *from, size_t n, int kind) { return copy(to, from, n, "waited for", NULL); }
int cudaMemcpyAsync(void *to, const void *from, size_t n, int kind, void *stream) {
    return copy(to, from, n, "not waited for", stream);
}
int cudaMemcpyPeerAsync(void *to, int a, const void *from, int b, size_t n, void *stream) {
    return copy(to, from, n, "peer", stream);
}
int cudaMemset(void *p, int value, size_t n) { return fill(p, value, n, NULL); }
int cudaMemsetAsync(void *p, int value, size_t n, void *stream) { return fill(p, value, n, stream); }

/* ---- Kernels: compiled ones are registered with their name when a library is loaded ---- */

typedef struct {
    unsigned x, y, z;
} Size;
#define N_KERNELS (1 << 20)
static struct {
    const void *function;
    const char *name;
} kernels[N_KERNELS];
static void *handle_of_library[8];

static size_t kernel_slot(const void *function) {
    size_t slot = ((uintptr_t)function >> 3) % N_KERNELS;
    while (kernels[slot].function && kernels[slot].function != function) slot = (slot + 1) % N_KERNELS;
    return slot;
}

void **__cudaRegisterFatBinary(void *binary) { return handle_of_library; }
void __cudaRegisterFatBinaryEnd(void **handle) {}
void __cudaUnregisterFatBinary(void **handle) {}
void __cudaRegisterVar(void **handle, char *a, char *b, const char *name, int e, size_t n, int g, int h) {}
void __cudaRegisterFunction(void **handle, const char *function, char *device, const char *name, int limit, void *a,
                            void *b, void *c, void *d, int *width) {
    size_t slot = kernel_slot(function);
    kernels[slot].function = function, kernels[slot].name = name;
}
int __cudaGetKernel(void **kernel, const void *function) { return *kernel = (void *)function, 0; }

static __thread struct {
    Size grid, block;
    size_t shared;
    void *stream;
} calls[16];
static __thread int n_calls;

unsigned __cudaPushCallConfiguration(Size grid, Size block, size_t shared, void *stream) {
    if (n_calls == 16) return 1;
    calls[n_calls].grid = grid, calls[n_calls].block = block;
    calls[n_calls].shared = shared, calls[n_calls].stream = stream;
    n_calls++;
    return 0;
}
int __cudaPopCallConfiguration(Size *grid, Size *block, size_t *shared, void **stream) {
    if (!n_calls) return 1;
    n_calls--;
    *grid = calls[n_calls].grid, *block = calls[n_calls].block;
    *shared = calls[n_calls].shared, *stream = calls[n_calls].stream;
    return 0;
}

static int launch(const char *kind, const char *name, void *stream) {
    char text[400];
    snprintf(text, sizeof text, "%s %.380s", kind, name ? name : "?");
    count_on(stream, text, 0);
    return 0;
}
static int launch_of(const void *function, void *stream) {
    return launch("kernel", kernels[kernel_slot(function)].name, stream);
}

int __cudaLaunchKernel(void *f, Size g, Size b, void **a, size_t n, void *s) { return launch_of(f, s); }
int cudaLaunchKernel(const void *f, Size g, Size b, void **a, size_t n, void *s) { return launch_of(f, s); }
int cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *f, void **a) { return launch_of(f, config->stream); }
int cudaLaunchCooperativeKernel(const void *f, Size g, Size b, void **a, size_t n, void *s) { return launch_of(f, s); }

int cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024, attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = 90;
    attributes->maxDynamicSharedSizeBytes = 232448;
    return 0;
}
int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b, size_t s) { return *n = 2, 0; }
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, size_t s, unsigned g) {
    return *n = 2, 0;
}

/* ---- The card ---- */

static int attribute(int which) { /* enum cudaDeviceAttr, and CUdevice_attribute of the same numbers */
    switch (which) {
        case 1: return 1024;        /* threads per block */
        case 2: case 3: return 1024; /* block, x and y */
        case 4: return 64;          /* block, z */
        case 5: return 2147483647;  /* grid, x */
        case 6: case 7: return 65535; /* grid, y and z */
        case 8: return 49152;       /* shared memory per block */
        case 10: return 32;         /* warp */
        case 12: return 65536;      /* registers per block */
        case 13: return 1980000;    /* clock, kHz */
        case 16: return 132;        /* multiprocessors */
        case 36: return 2619000;    /* memory's clock, kHz */
        case 37: return 5120;       /* memory's bus, bits */
        case 38: return 52428800;   /* L2 cache */
        case 39: return 2048;       /* threads per multiprocessor */
        case 75: return 9;          /* compute capability, major */
        case 76: return 0;          /* minor */
        case 81: return 233472;     /* shared memory per multiprocessor */
        case 82: return 65536;      /* registers per multiprocessor */
        case 97: return 232448;     /* shared memory per block, on request */
        case 106: return 32;        /* blocks per multiprocessor */
        case 111: return 1024;      /* shared memory that is reserved */
        default: return 1;
    }
}

int cudaDeviceGetAttribute(int *value, int which, int device) { return *value = attribute(which), 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { return *value = attribute(which), 0; }

int cudaGetDeviceProperties(struct cudaDeviceProp *card, int device) {
    memset(card, 0, sizeof *card);
    strcpy(card->name, "null CUDA device");
    card->totalGlobalMem = card_bytes();
    card->major = attribute(75), card->minor = attribute(76);
    card->multiProcessorCount = attribute(16), card->warpSize = attribute(10);
    card->maxThreadsPerBlock = attribute(1);
    card->maxThreadsDim[0] = card->maxThreadsDim[1] = attribute(2), card->maxThreadsDim[2] = attribute(4);
    card->maxGridSize[0] = attribute(5), card->maxGridSize[1] = card->maxGridSize[2] = attribute(6);
    card->maxThreadsPerMultiProcessor = attribute(39);
    card->regsPerBlock = attribute(12), card->regsPerMultiprocessor = attribute(82);
    card->sharedMemPerBlock = attribute(8), card->sharedMemPerBlockOptin = attribute(97);
    card->sharedMemPerMultiprocessor = attribute(81), card->reservedSharedMemPerBlock = attribute(111);
    card->l2CacheSize = attribute(38), card->memoryBusWidth = attribute(37);
    card->textureAlignment = 512;
    card->unifiedAddressing = card->managedMemory = card->concurrentKernels = card->cooperativeLaunch = 1;
    return 0;
}

#define VERSION 13020 /* CUDA 13.2 */
int cudaGetDeviceCount(int *n) { return *n = 1, 0; }
int cudaGetDevice(int *device) { return *device = 0, 0; }
int cudaDriverGetVersion(int *version) { return *version = VERSION, 0; }
int cudaRuntimeGetVersion(int *version) { return *version = VERSION, 0; }
int cudaDeviceCanAccessPeer(int *can, int a, int b) { return *can = 0, 0; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, 0; }
int cudaDeviceGetPCIBusId(char *text, int n, int device) { return snprintf(text, n, "0000:00:00.0"), 0; }
int cudaDeviceGetDefaultMemPool(void **pool, int device) { return *pool = (void *)8, 0; }
const char *cudaGetErrorName(int error) { return error ? "cudaErrorMemoryAllocation" : "cudaSuccess"; }
const char *cudaGetErrorString(int error) { return error ? "out of memory" : "no error"; }

/* ---- Streams and events: handles; whatever waits for them is counted ---- */

static long last_handle = 4096;
static int new_handle(void *handle) {
    *(void **)handle = (void *)(uintptr_t)__sync_add_and_fetch(&last_handle, 16);
    return 0;
}

int cudaStreamCreate(void **stream) { return new_handle(stream); }
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { return new_handle(stream); }
int cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) { return new_handle(stream); }
int cudaStreamGetPriority(void *stream, int *priority) { return *priority = 0, 0; }
int cudaStreamIsCapturing(void *stream, int *status) { return *status = recording && stream == recording, 0; }
int cudaStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id, void *a, void *b, void *c, size_t *n) {
    if (id) *id = 1;
    return cudaStreamIsCapturing(stream, status);
}
int cudaStreamBeginCapture(void *stream, int mode) { return recording = stream, 0; }
int cudaStreamEndCapture(void *stream, void **graph) { return recording = NULL, new_handle(graph); }
int cudaGraphGetNodes(void *graph, void **nodes, size_t *n) { return *n = 1, 0; }
int cudaGraphInstantiate(void **ready, void *graph, unsigned long long flags) { return new_handle(ready); }
int cudaGraphInstantiateWithFlags(void **ready, void *graph, unsigned long long flags) { return new_handle(ready); }
int cudaGraphLaunch(void *ready, void *stream) { return count_on(stream, "launch of a graph", 0), 0; }
int cudaEventCreate(void **event) { return new_handle(event); }
int cudaEventCreateWithFlags(void **event, unsigned flags) { return new_handle(event); }
static void *external; /* the event that was recorded last to be waited for outside a graph */
int cudaEventRecordWithFlags(void *event, void *stream, unsigned flags) {
    if (flags) count_on(stream, "external event", 0), external = event; /* cudaEventRecordExternal */
    return 0;
}
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) {
    if (event == external) count_on(stream, "stream waits for an external event", 0);
    return 0;
}
int cudaEventElapsedTime(float *ms, void *from, void *to) { return *ms = 1, 0; }
int cudaStreamSynchronize(void *stream) { return count("wait for a stream", 0), 0; }
int cudaDeviceSynchronize(void) { return count("wait for the device", 0), 0; }
int cudaEventSynchronize(void *event) { return count("wait for an event", 0), 0; }

/* ---- cuBLAS: every product by its shape, its types and the lengths of its rows ---- */

int cublasCreate_v2(void ***handle) { return *handle = calloc(1, sizeof **handle), 0; } /* which holds its stream */
int cublasSetStream_v2(void **handle, void *stream) { return *handle = stream, 0; }
int cublasGetMathMode(void *handle, int *mode) { return *mode = 0, 0; }
int cublasGetPointerMode_v2(void *handle, int *mode) { return *mode = 0, 0; }

static int product(int m, int n, int k, int times, int type, int result, long lda, long ldb, long ldc, void *stream) {
    char text[200];
    snprintf(text, sizeof text, "product m%d n%d k%d x%d types %d %d rows %ld %ld %ld", m, n, k, times, type, result, lda,
             ldb, ldc);
    count_on(stream, text, 2.0 * m * n * k * times);
    return 0;
}

#define OPERANDS int ta, int tb, int m, int n, int k, const void *alpha
int cublasGemmEx(void **h, OPERANDS, const void *A, int at, int lda, const void *B, int bt, int ldb, const void *beta,
                 void *C, int ct, int ldc, int compute, int algorithm) {
    return product(m, n, k, 1, at, ct, lda, ldb, ldc, *h);
}
int cublasSgemm_v2(void **h, OPERANDS, const void *A, int lda, const void *B, int ldb, const void *beta, void *C, int ldc) {
    return product(m, n, k, 1, 0, 0, lda, ldb, ldc, *h);
}
int cublasGemmStridedBatchedEx(void **h, OPERANDS, const void *A, int at, int lda, long long sa, const void *B, int bt,
                               int ldb, long long sb, const void *beta, void *C, int ct, int ldc, long long sc, int times,
                               int compute, int algorithm) {
    return product(m, n, k, times, at, ct, lda, ldb, ldc, *h);
}
int cublasSgemmStridedBatched(void **h, OPERANDS, const void *A, int lda, long long sa, const void *B, int ldb, long long sb,
                              const void *beta, void *C, int ldc, long long sc, int times) {
    return product(m, n, k, times, 0, 0, lda, ldb, ldc, *h);
}

typedef struct {
    int type;
    uint64_t rows, columns;
    int64_t stride;
} Layout; /* ours: torch holds a pointer to it alone */
int cublasLtMatmulDescCreate(void **description, int compute, int scale) { return new_handle(description); }
int cublasLtMatmulPreferenceCreate(void **preference) { return new_handle(preference); }
int cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    Layout *made = malloc(sizeof *made);
    *made = (Layout){type, rows, columns, stride};
    return *layout = made, 0;
}
int cublasLtMatrixLayoutDestroy(void *layout) { return free(layout), 0; }
int cublasLtMatmulAlgoGetHeuristic(void *h, void *d, void *a, void *b, void *c, void *e, void *p, int asked, void *results,
                                   int *n) {
    memset(results, 0, 96); /* one cublasLtMatmulHeuristicResult_t */
    return *n = 1, 0;
}
int cublasLtMatmul(void *h, void *d, const void *alpha, const void *A, Layout *a, const void *B, Layout *b,
                   const void *beta, const void *C, Layout *c, void *D, Layout *result, const void *algorithm, void *w,
                   size_t n, void *stream) {
    uint64_t k = a->columns == result->rows ? a->rows : a->columns; /* whether A is transposed is in the description */
    return product(result->rows, result->columns, k, 1, a->type, result->type, a->stride, b->stride, result->stride,
                   stream);
}
size_t cublasLtGetVersion(void) { return 130400; }

/* ---- The driver, which Triton and Inductor load compiled kernels with ---- */

int cuDriverGetVersion(int *version) { return *version = VERSION, 0; }
int cuDeviceGetCount(int *n) { return *n = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = 0, 0; }
int cuDeviceGetName(char *text, int n, int device) { return snprintf(text, n, "null CUDA device"), 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)64, 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { return *flags = 0, *active = 1, 0; }
int cuCtxGetCurrent(void **context) { return *context = (void *)64, 0; }
int cuCtxGetDevice(int *device) { return *device = 0, 0; }
int cuCtxGetLimit(size_t *value, int limit) { return *value = 1 << 23, 0; }
int cuGetErrorString(int error, const char **text) { return *text = "no error", 0; }
int cuGetErrorName(int error, const char **text) { return *text = "CUDA_SUCCESS", 0; }
int cuModuleLoadData(void **module, const void *image) { return new_handle(module); }
int cuModuleLoad(void **module, const char *path) { return new_handle(module); }
int cuModuleLoadDataEx(void **module, const void *image, unsigned n, void *o, void *v) { return new_handle(module); }
int cuModuleGetFunction(void **function, void *module, const char *name) { return *function = strdup(name), 0; }
int cuFuncGetAttribute(int *value, int which, void *function) {
    return *value = which == 0 ? 1024 : which == 4 ? 40 : 0, 0; /* threads per block, registers, nothing spilled */
}
int cuOccupancyMaxActiveClusters(int *n, void *f, void *config) { return *n = 66, 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int b, size_t s) { return *n = 2, 0; }
int cuStreamIsCapturing(void *stream, int *status) { return cudaStreamIsCapturing(stream, status); }
int cuLaunchKernel(void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned s, void *st,
                   void **p, void **x) {
    return launch("compiled kernel", f, st);
}
typedef struct {
    unsigned grid[3], block[3], shared;
    void *stream;
} Config; /* the beginning of a CUlaunchConfig */
int cuLaunchKernelEx(const Config *config, void *f, void **p, void **x) {
    return launch("compiled kernel", f, config->stream);
}
int cuLaunchCooperativeKernel(void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned s,
                              void *st, void **p) {
    return launch("compiled kernel", f, st);
}
int cuTensorMapEncodeTiled(void) { return 0; }
int cuTensorMapEncodeIm2col(void) { return 0; }

static int nothing(void) { return 0; }
static int address_of(const char *name, void **function) {
    void *ours = dlsym(RTLD_DEFAULT, name);
    return *function = ours ? ours : (void *)nothing, 0;
}
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, void *status) {
    return address_of(name, function);
}
int cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long flags,
                                     int *status) {
    if (status) *status = 0;
    return address_of(name, function);
}
