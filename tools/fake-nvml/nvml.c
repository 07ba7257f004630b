/* A libnvidia-ml.so.1 that answers from a text file: see README.md.
 *
 * Only what the agent calls is here. Signatures and numbers are those of NVML's public interface; every function
 * first looks whether the file changed, whether there is a session, and whether the file wants this call to fail.
 * Handles point into static arrays, so that a stale one is never a wild pointer.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, IN_USE = 19, INSUFFICIENT_RESOURCES = 23, UNKNOWN = 999
};
enum { MAX_GPUS = 16, MAX_PROFILES = 18, MAX_INSTANCES = 16, MAX_EVENTS = 256, MAX_FAILURES = 32, MAX_STARTS = 16 };

struct mig_profile {
    int index, id;
    char name[64];
    unsigned slices, sm, ce, dec, enc, jpeg, ofa, size, start_count;
    unsigned long long mb;
    unsigned starts[MAX_STARTS];
};
struct instance { unsigned gi, profile, start; char uuid[96]; };
struct failure { char function[64]; int code; };
struct event { unsigned long long type, data; };
struct gpu {
    char uuid[96], name[96], pci[32];
    int brand, architecture, major, minor_capability, minor, mig, lost;
    unsigned pci_device, power, power_min, power_max, slowdown, shutdown, cores, temperature, recovery;
    unsigned remap_pending, remap_failed;
    unsigned long long memory, ecc, throttle;
    int profile_count, instance_count, event_count, failure_count;
    struct mig_profile profiles[MAX_PROFILES];
    struct instance instances[MAX_INSTANCES];
    struct event events[MAX_EVENTS];
    struct failure failures[MAX_FAILURES];
};
struct world {
    char driver[80];
    int cuda, loaded, load, gpu_count, latency_us;
    struct gpu gpus[MAX_GPUS];
};

typedef struct device { int gpu, mig; } *Device;                 /* mig: place among the instances, or -1 */
typedef struct gpu_instance { int gpu; unsigned gi; } *GpuInstance;
typedef struct event_set { int used, registered[MAX_GPUS], delivered[MAX_GPUS]; } *EventSet;

static struct world world;
static struct device devices[MAX_GPUS][1 + MAX_INSTANCES];
static struct gpu_instance gpu_instances[MAX_GPUS][MAX_INSTANCES], compute_instances[MAX_GPUS][MAX_INSTANCES];
static struct event_set event_sets[8];
static int sessions, session_load;
static struct { ino_t file; struct timespec time; off_t size; } seen[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* --- the file ---------------------------------------------------------------------------------------------------- */

static void set_text(char *field, size_t size, const char *value) {
    size_t length = strnlen(value, size - 1);
    memcpy(field, value, length);
    field[length] = 0;
}

static void read_mig_profile(struct gpu *gpu, const char *value) {
    char starts[128] = "";
    if (gpu->profile_count == MAX_PROFILES) return;
    struct mig_profile *p = &gpu->profiles[gpu->profile_count++];
    sscanf(value, "%d %d %63s %u %llu %u %u %u %u %u %u %u %127s", &p->index, &p->id, p->name, &p->slices, &p->mb, &p->sm,
           &p->ce, &p->dec, &p->enc, &p->jpeg, &p->ofa, &p->size, starts);
    char *rest = NULL;
    for (char *one = strtok_r(starts, ",", &rest); one && p->start_count < MAX_STARTS; one = strtok_r(NULL, ",", &rest))
        p->starts[p->start_count++] = (unsigned)atoi(one);
}

static void read_instance(struct gpu *gpu, const char *value) {
    if (gpu->instance_count == MAX_INSTANCES) return;
    struct instance *i = &gpu->instances[gpu->instance_count++];
    sscanf(value, "%u %u %u %95s", &i->gi, &i->profile, &i->start, i->uuid);
}

static void read_gpu_line(struct gpu *gpu, const char *key, const char *value) {
    unsigned long long number = strtoull(value, NULL, 0);
    struct { const char *key; int *field; } ints[] = {
        {"brand", &gpu->brand}, {"architecture", &gpu->architecture}, {"minor", &gpu->minor},
        {"mig", &gpu->mig}, {"lost", &gpu->lost}};
    struct { const char *key; unsigned *field; } unsigneds[] = {
        {"pci_device", &gpu->pci_device}, {"power", &gpu->power}, {"power_min", &gpu->power_min},
        {"power_max", &gpu->power_max}, {"slowdown", &gpu->slowdown}, {"shutdown", &gpu->shutdown},
        {"cores", &gpu->cores}, {"temperature", &gpu->temperature}, {"recovery", &gpu->recovery},
        {"remap_pending", &gpu->remap_pending}, {"remap_failed", &gpu->remap_failed}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (!strcmp(key, ints[i].key)) { *ints[i].field = (int)number; return; }
    for (size_t i = 0; i < sizeof unsigneds / sizeof *unsigneds; i++)
        if (!strcmp(key, unsigneds[i].key)) { *unsigneds[i].field = (unsigned)number; return; }
    if (!strcmp(key, "uuid")) set_text(gpu->uuid, sizeof gpu->uuid, value);
    else if (!strcmp(key, "name")) set_text(gpu->name, sizeof gpu->name, value);
    else if (!strcmp(key, "pci")) set_text(gpu->pci, sizeof gpu->pci, value);
    else if (!strcmp(key, "memory")) gpu->memory = number;
    else if (!strcmp(key, "ecc")) gpu->ecc = number;
    else if (!strcmp(key, "throttle")) gpu->throttle = number;
    else if (!strcmp(key, "capability")) sscanf(value, "%d.%d", &gpu->major, &gpu->minor_capability);
    else if (!strcmp(key, "mig_profile")) read_mig_profile(gpu, value);
    else if (!strcmp(key, "instance")) read_instance(gpu, value);
    else if (!strcmp(key, "event") && gpu->event_count < MAX_EVENTS) {
        struct event *e = &gpu->events[gpu->event_count++];
        sscanf(value, "%llu %llu", &e->type, &e->data);
    } else if (!strncmp(key, "fail.", 5) && gpu->failure_count < MAX_FAILURES) {
        struct failure *f = &gpu->failures[gpu->failure_count++];
        set_text(f->function, sizeof f->function, key + 5);
        f->code = (int)number;
    }
}

static void read_created_instances(void) {
    char path[4096], line[512], uuid[96], rest[256];
    snprintf(path, sizeof path, "%s.instances", getenv("FAKE_NVML"));
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%95s %255[^\n]", uuid, rest) == 2)
            for (int g = 0; g < world.gpu_count; g++)
                if (!strcmp(world.gpus[g].uuid, uuid)) read_instance(&world.gpus[g], rest);
    if (file) fclose(file);
}

static int changed(const char *path, int which) {
    struct stat now;
    memset(&now, 0, sizeof now);
    if (stat(path, &now) && !which) return 0;
    if (now.st_ino == seen[which].file && now.st_size == seen[which].size &&
        !memcmp(&now.st_mtim, &seen[which].time, sizeof now.st_mtim))
        return 0;
    seen[which].file = now.st_ino, seen[which].size = now.st_size, seen[which].time = now.st_mtim;
    return 1;
}

static void refresh(void) {
    const char *path = getenv("FAKE_NVML");
    char created[4096], line[1024], key[128], value[768];
    if (!path) { memset(&world, 0, sizeof world); return; }
    snprintf(created, sizeof created, "%s.instances", path);
    int fresh = changed(path, 0);
    if (!(changed(created, 1) || fresh)) return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    memset(&world, 0, sizeof world);
    world.loaded = 1;
    struct gpu *gpu = NULL;
    while (fgets(line, sizeof line, file)) {
        size_t end = strcspn(line, "#\r\n");
        while (end && line[end - 1] == ' ') end--;
        line[end] = 0;
        if (!strncmp(line, "[gpu]", 5)) {
            if (world.gpu_count == MAX_GPUS) break;
            gpu = &world.gpus[world.gpu_count++];
            gpu->mig = -1;
        } else if (sscanf(line, " %127[^ =] = %767[^\n]", key, value) == 2) {
            if (gpu) read_gpu_line(gpu, key, value);
            else if (!strcmp(key, "driver")) set_text(world.driver, sizeof world.driver, value);
            else if (!strcmp(key, "cuda")) world.cuda = atoi(value);
            else if (!strcmp(key, "load")) world.load = atoi(value);
            else if (!strcmp(key, "latency_us")) world.latency_us = atoi(value);
            else if (!strcmp(key, "state")) world.loaded = !strcmp(value, "loaded");
        }
    }
    fclose(file);
    read_created_instances();
    for (int g = 0; g < MAX_GPUS; g++)
        for (int m = 0; m <= MAX_INSTANCES; m++) devices[g][m] = (struct device){g, m - 1};
}

/* --- entering a call --------------------------------------------------------------------------------------------- */

static int session(void) {
    refresh();
    if (!sessions) return UNINITIALIZED;
    if (!world.loaded) return DRIVER_NOT_LOADED;
    return world.load == session_load ? SUCCESS : UNKNOWN;
}

static int enter(int index, const char *function, struct gpu **gpu) {
    int code = session();
    if (code) return code;
    if (index < 0 || index >= world.gpu_count) return INVALID_ARGUMENT;
    if (world.latency_us) usleep((useconds_t)world.latency_us);
    *gpu = &world.gpus[index];
    if ((*gpu)->lost) return GPU_IS_LOST;
    for (int f = 0; f < (*gpu)->failure_count; f++)
        if (!strcmp((*gpu)->failures[f].function, function)) return (*gpu)->failures[f].code;
    return SUCCESS;
}

static int leave(int code) { pthread_mutex_unlock(&lock); return code; }

#define ENTER() do { pthread_mutex_lock(&lock); int code_ = session(); if (code_) return leave(code_); } while (0)
#define ON(index) struct gpu *gpu = NULL; pthread_mutex_lock(&lock); \
    do { int code_ = enter((index), __func__, &gpu); if (code_) return leave(code_); } while (0)
#define GETTER(name, type, expression) \
    int name(Device device, type *value) { ON(device->gpu); *value = (type)(expression); return leave(SUCCESS); }

/* --- sessions and the system ------------------------------------------------------------------------------------- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    refresh();
    if (!world.loaded) return leave(DRIVER_NOT_LOADED);
    if (!sessions++) session_load = world.load;
    return leave(SUCCESS);
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    if (!sessions) return leave(UNINITIALIZED);
    sessions--;
    return leave(SUCCESS);
}
const char *nvmlErrorString(int code) {
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case IN_USE: return "In use by another client";
    case INSUFFICIENT_RESOURCES: return "Insufficient Resources";
    default: return "Unknown Error";
    }
}
int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    ENTER();
    set_text(version, length, world.driver);
    return leave(SUCCESS);
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { ENTER(); *version = world.cuda; return leave(SUCCESS); }
int nvmlDeviceGetCount_v2(unsigned *count) { ENTER(); *count = (unsigned)world.gpu_count; return leave(SUCCESS); }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    ON((int)index);
    *device = &devices[index][0];
    return leave(SUCCESS);
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    ENTER();
    for (int g = 0; g < world.gpu_count; g++) {
        struct gpu *gpu = &world.gpus[g];
        int found = strcmp(gpu->uuid, uuid) ? -1 : 0;
        for (int i = 0; i < gpu->instance_count; i++)
            if (!strcmp(gpu->instances[i].uuid, uuid)) found = 1 + i;
        if (found < 0) continue;
        *device = &devices[g][found];
        return leave(gpu->lost ? GPU_IS_LOST : SUCCESS);
    }
    return leave(NOT_FOUND);
}

/* --- what a GPU is ----------------------------------------------------------------------------------------------- */

GETTER(nvmlDeviceGetMinorNumber, unsigned, gpu->minor)
GETTER(nvmlDeviceGetBrand, unsigned, gpu->brand)
GETTER(nvmlDeviceGetArchitecture, unsigned, gpu->architecture)
GETTER(nvmlDeviceGetNumGpuCores, unsigned, gpu->cores)
GETTER(nvmlDeviceGetPowerManagementLimit, unsigned, gpu->power)

int nvmlDeviceGetUUID(Device device, char *uuid, unsigned length) {
    ON(device->gpu);
    if (device->mig >= gpu->instance_count) return leave(NOT_FOUND);
    set_text(uuid, length, device->mig < 0 ? gpu->uuid : gpu->instances[device->mig].uuid);
    return leave(SUCCESS);
}
int nvmlDeviceGetName(Device device, char *name, unsigned length) {
    ON(device->gpu);
    set_text(name, length, gpu->name);
    return leave(SUCCESS);
}
int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    ON(device->gpu);
    *major = gpu->major, *minor = gpu->minor_capability;
    return leave(SUCCESS);
}
struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(Device device, struct memory *memory) {
    ON(device->gpu);
    *memory = (struct memory){gpu->memory, gpu->memory, 0};
    return leave(SUCCESS);
}
struct pci { char legacy[16]; unsigned domain, bus, device, pci_device, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(Device device, struct pci *pci) {
    ON(device->gpu);
    memset(pci, 0, sizeof *pci);
    sscanf(gpu->pci, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->legacy, sizeof pci->legacy, "%.15s", gpu->pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "%08X:%02X:%02X.0", pci->domain, pci->bus, pci->device);
    pci->pci_device = gpu->pci_device;
    return leave(SUCCESS);
}
int nvmlDeviceGetPowerManagementLimitConstraints(Device device, unsigned *lowest, unsigned *highest) {
    ON(device->gpu);
    *lowest = gpu->power_min, *highest = gpu->power_max;
    return leave(SUCCESS);
}
int nvmlDeviceGetTemperatureThreshold(Device device, int type, unsigned *celsius) {
    ON(device->gpu);
    if (type > 1) return leave(NOT_SUPPORTED);
    *celsius = type == 0 ? gpu->shutdown : gpu->slowdown;
    return leave(*celsius ? SUCCESS : NOT_SUPPORTED);
}

/* --- how a GPU is ------------------------------------------------------------------------------------------------ */

GETTER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, gpu->throttle)

int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *celsius) {
    (void)sensor;
    ON(device->gpu);
    *celsius = gpu->temperature;
    return leave(SUCCESS);
}
int nvmlDeviceGetTotalEccErrors(Device device, int kind, int counter, unsigned long long *errors) {
    ON(device->gpu);
    *errors = kind == 1 && counter == 0 ? gpu->ecc : 0;
    return leave(SUCCESS);
}
int nvmlDeviceGetRemappedRows(Device device, unsigned *correctable, unsigned *not, unsigned *pending, unsigned *failed) {
    ON(device->gpu);
    *correctable = *not = 0, *pending = gpu->remap_pending, *failed = gpu->remap_failed;
    return leave(SUCCESS);
}
struct field { uint32_t id, scope; int64_t time, latency; int type, code; union { double d; unsigned u; uint64_t l; } value; };
int nvmlDeviceGetFieldValues(Device device, int count, struct field *fields) {
    ON(device->gpu);
    for (int i = 0; i < count; i++) {
        fields[i].code = fields[i].id == 230 ? SUCCESS : NOT_SUPPORTED;
        fields[i].type = 1;
        fields[i].value.l = 0;
        fields[i].value.u = gpu->recovery;
    }
    return leave(SUCCESS);
}

/* --- MIG --------------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending) {
    ON(device->gpu);
    if (gpu->mig < 0) return leave(NOT_SUPPORTED);
    *current = *pending = (unsigned)gpu->mig;
    return leave(SUCCESS);
}
GETTER(nvmlDeviceGetMaxMigDeviceCount, unsigned, gpu->mig < 0 ? 0 : 7)

int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device *mig) {
    ON(device->gpu);
    if ((int)index >= gpu->instance_count) return leave(NOT_FOUND);
    *mig = &devices[device->gpu][1 + index];
    return leave(SUCCESS);
}
int nvmlDeviceGetGpuInstanceId(Device device, unsigned *id) {
    ON(device->gpu);
    if (device->mig < 0 || device->mig >= gpu->instance_count) return leave(NOT_SUPPORTED);
    *id = gpu->instances[device->mig].gi;
    return leave(SUCCESS);
}
int nvmlDeviceGetComputeInstanceId(Device device, unsigned *id) {
    ON(device->gpu);
    if (device->mig < 0 || device->mig >= gpu->instance_count) return leave(NOT_SUPPORTED);
    *id = 0;
    return leave(SUCCESS);
}
struct gi_profile {
    unsigned version, id, p2p, slices, instances, sm, ce, dec, enc, jpeg, ofa;
    unsigned long long mb;
    char name[96];
};
int nvmlDeviceGetGpuInstanceProfileInfoV(Device device, unsigned index, struct gi_profile *info) {
    ON(device->gpu);
    for (int i = 0; i < gpu->profile_count; i++) {
        struct mig_profile *p = &gpu->profiles[i];
        if (p->index != (int)index) continue;
        *info = (struct gi_profile){info->version, (unsigned)p->id, 0, p->slices, p->start_count, p->sm, p->ce, p->dec,
                                    p->enc, p->jpeg, p->ofa, p->mb, ""};
        snprintf(info->name, sizeof info->name, "MIG %s", p->name);
        return leave(SUCCESS);
    }
    return leave(NOT_SUPPORTED);
}
struct placement { unsigned start, size; };
int nvmlDeviceGetGpuInstancePossiblePlacements_v2(Device device, unsigned id, struct placement *places, unsigned *count) {
    ON(device->gpu);
    for (int i = 0; i < gpu->profile_count; i++) {
        struct mig_profile *p = &gpu->profiles[i];
        if (p->id != (int)id) continue;
        for (unsigned s = 0; places && s < p->start_count; s++) places[s] = (struct placement){p->starts[s], p->size};
        *count = p->start_count;
        return leave(SUCCESS);
    }
    return leave(NOT_SUPPORTED);
}
struct gi_info { Device device; unsigned id, profile; struct placement placement; };

static struct mig_profile *profile_of(struct gpu *gpu, unsigned id) {
    for (int i = 0; i < gpu->profile_count; i++)
        if (gpu->profiles[i].id == (int)id) return &gpu->profiles[i];
    return NULL;
}

int nvmlDeviceGetGpuInstanceById(Device device, unsigned id, GpuInstance *instance) {
    ON(device->gpu);
    for (int i = 0; i < gpu->instance_count; i++)
        if (gpu->instances[i].gi == id) {
            gpu_instances[device->gpu][i] = (struct gpu_instance){device->gpu, id};
            *instance = &gpu_instances[device->gpu][i];
            return leave(SUCCESS);
        }
    return leave(NOT_FOUND);
}
int nvmlGpuInstanceGetInfo(GpuInstance instance, struct gi_info *info) {
    ON(instance->gpu);
    for (int i = 0; i < gpu->instance_count; i++)
        if (gpu->instances[i].gi == instance->gi) {
            struct mig_profile *p = profile_of(gpu, gpu->instances[i].profile);
            if (!p) return leave(NOT_FOUND);
            *info = (struct gi_info){&devices[instance->gpu][0], instance->gi, (unsigned)p->id,
                                     {gpu->instances[i].start, p->size}};
            return leave(SUCCESS);
        }
    return leave(NOT_FOUND);
}

/* Rewrites <file>.instances: all that it has but `gone`, and `more`. */
static int save_instances(const struct gpu *gpu, unsigned gone, const char *more) {
    char path[4096], next[4200], line[512], uuid[96];
    unsigned gi;
    snprintf(path, sizeof path, "%s.instances", getenv("FAKE_NVML"));
    snprintf(next, sizeof next, "%s.next", path);
    FILE *from = fopen(path, "r"), *to = fopen(next, "w");
    if (!to) { if (from) fclose(from); return UNKNOWN; }
    while (from && fgets(line, sizeof line, from))
        if (sscanf(line, "%95s %u", uuid, &gi) == 2 && (strcmp(uuid, gpu->uuid) || gi != gone)) fputs(line, to);
    if (more) fputs(more, to);
    if (from) fclose(from);
    fclose(to);
    return rename(next, path) ? UNKNOWN : SUCCESS;
}
int nvmlDeviceCreateGpuInstanceWithPlacement(Device device, unsigned id, const struct placement *at, GpuInstance *made) {
    ON(device->gpu);
    struct mig_profile *p = profile_of(gpu, id);
    unsigned gi = 1, allowed = 0;
    if (gpu->mig != 1 || !p) return leave(NOT_SUPPORTED);
    for (unsigned s = 0; s < p->start_count; s++) allowed |= p->starts[s] == at->start;
    if (!allowed || at->size != p->size) return leave(INVALID_ARGUMENT);
    for (int i = 0; i < gpu->instance_count; i++) {
        struct mig_profile *other = profile_of(gpu, gpu->instances[i].profile);
        unsigned start = gpu->instances[i].start;
        if (other && at->start < start + other->size && start < at->start + p->size) return leave(INSUFFICIENT_RESOURCES);
        if (gpu->instances[i].gi >= gi) gi = gpu->instances[i].gi + 1;
    }
    if (gpu->instance_count == MAX_INSTANCES) return leave(INSUFFICIENT_RESOURCES);
    char line[512];
    snprintf(line, sizeof line, "%s %u %u %u MIG-%s-%u-%u\n", gpu->uuid, gi, id, at->start, gpu->uuid + 4, id, at->start);
    int code = save_instances(gpu, 0, line);
    gpu_instances[device->gpu][gpu->instance_count] = (struct gpu_instance){device->gpu, gi};
    *made = &gpu_instances[device->gpu][gpu->instance_count];
    return leave(code);
}
int nvmlGpuInstanceDestroy(GpuInstance instance) {
    ON(instance->gpu);
    return leave(save_instances(gpu, instance->gi, NULL));
}
/* Every GPU instance has one compute instance that fills it. */
struct ci_profile { unsigned version, id, slices, instances, sm, ce, dec, enc, jpeg, ofa; char name[96]; };
int nvmlGpuInstanceGetComputeInstanceProfileInfoV(GpuInstance instance, unsigned index, unsigned engine,
                                                  struct ci_profile *info) {
    (void)engine;
    ON(instance->gpu);
    memset(&info->id, 0, sizeof *info - sizeof info->version);
    info->id = index;
    return leave(SUCCESS);
}
int nvmlGpuInstanceCreateComputeInstance(GpuInstance instance, unsigned id, GpuInstance *made) {
    (void)id;
    ON(instance->gpu);
    *made = instance;
    return leave(SUCCESS);
}
int nvmlGpuInstanceGetComputeInstanceById(GpuInstance instance, unsigned id, GpuInstance *found) {
    ON(instance->gpu);
    if (id) return leave(NOT_FOUND);
    compute_instances[instance->gpu][0] = *instance;
    *found = &compute_instances[instance->gpu][0];
    return leave(SUCCESS);
}
int nvmlComputeInstanceDestroy(GpuInstance instance) { ON(instance->gpu); return leave(SUCCESS); }

/* --- events ------------------------------------------------------------------------------------------------------ */

int nvmlEventSetCreate(EventSet *set) {
    ENTER();
    for (size_t i = 0; i < sizeof event_sets / sizeof *event_sets; i++)
        if (!event_sets[i].used) {
            memset(&event_sets[i], 0, sizeof event_sets[i]);
            event_sets[i].used = 1;
            *set = &event_sets[i];
            return leave(SUCCESS);
        }
    return leave(INSUFFICIENT_RESOURCES);
}
int nvmlEventSetFree(EventSet set) {
    pthread_mutex_lock(&lock);
    set->used = 0;
    return leave(SUCCESS);
}
int nvmlDeviceGetSupportedEventTypes(Device device, unsigned long long *types) {
    ON(device->gpu);
    *types = 0x2 | 0x8 | 0x8000;
    return leave(SUCCESS);
}
int nvmlDeviceRegisterEvents(Device device, unsigned long long types, EventSet set) {
    (void)types;
    ON(device->gpu);
    set->registered[device->gpu] = 1;
    set->delivered[device->gpu] = gpu->event_count;
    return leave(SUCCESS);
}
struct event_data { Device device; unsigned long long type, data; unsigned gi, ci; };
int nvmlEventSetWait_v2(EventSet set, struct event_data *data, unsigned milliseconds) {
    for (unsigned waited = 0;; waited += 10) {
        pthread_mutex_lock(&lock);
        int code = session();
        if (code) return leave(code);
        for (int g = 0; g < world.gpu_count; g++)
            if (set->registered[g] && set->delivered[g] < world.gpus[g].event_count) {
                struct event *e = &world.gpus[g].events[set->delivered[g]++];
                *data = (struct event_data){&devices[g][0], e->type, e->data, ~0u, ~0u};
                return leave(SUCCESS);
            }
        pthread_mutex_unlock(&lock);
        if (waited >= milliseconds) return TIMEOUT;
        usleep(10000);
    }
}
