/* consilium info: what this program was built from, and what it finds here. */
#include "commands.h"

#include <consilium/device.h>
#include <consilium/files.h>
#include <consilium/model.h>

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static json_t *describe_device(const char *resource)
{
    csl_device *device = NULL;
    json_t *entry = NULL;
    if (csl_device_open(resource, 1, &device) == CSL_OK) {
        const csl_device_info *info = csl_device_get_info(device);
        entry = json_pack("{s:s, s:s, s:I, s:I, s:b}", "resource", info->resource, "description",
                          info->description, "memory_size", (json_int_t)info->memory_size,
                          "memory_free_size", (json_int_t)info->memory_free_size, "simulated",
                          (int)info->simulated);
    } else {
        entry = json_pack("{s:s, s:s}", "resource", resource, "error", csl_error_message());
    }
    csl_device_close(device);
    return entry;
}

static json_t *describe_devices(void)
{
    json_t *devices = json_array();
    json_array_append_new(devices, describe_device("host"));
    json_array_append_new(devices, describe_device("host:guard"));
    for (uint32_t i = 0; i < csl_device_gpu_count(); i++) {
        char resource[CSL_NAME_MAX];
        snprintf(resource, sizeof resource, "cuda:%u", i);
        json_array_append_new(devices, describe_device(resource));
    }
    if (csl_device_gpu_count() == 0) {
        json_array_append_new(devices, json_pack("{s:s, s:s}", "resource", "cuda", "error",
                                                 csl_device_gpu_absence()));
    }
    return devices;
}

/* The networks that a study may name. */
static json_t *describe_networks(void)
{
    json_t *networks = json_object();
    for (const char *const *name = csl_model_zoo_names(); *name; name++) {
        json_object_set_new(networks, *name, json_string(csl_model_zoo_text(*name)));
    }
    return networks;
}

static json_t *describe_limits(void)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "institutions",
                     (int)CSL_INSTITUTIONS_MAX, "updates_per_aggregation", (int)CSL_ROWS_MAX,
                     "classes", (int)CSL_CLASSES_MAX, "image_channels", (int)CSL_IMAGE_CHANNELS_MAX,
                     "image_extent", (int)CSL_EXTENT_MAX, "layers", (int)CSL_LAYERS_MAX, "batch",
                     (int)CSL_BATCH_MAX, "threads", (int)CSL_THREADS_MAX);
}

static json_t *describe(void)
{
    struct utsname name = {0};
    uname(&name);
    json_t *root = json_object();
    json_object_set_new(root, "version", json_string(CSL_VERSION));
    json_object_set_new(root, "build",
                        json_pack("{s:s, s:s, s:b, s:s}", "compiler", CSL_BUILD_COMPILER, "type",
                                  CSL_BUILD_TYPE, "cuda", CSL_BUILD_CUDA, "cuda_toolkit",
                                  CSL_BUILD_CUDA_VERSION));
    json_object_set_new(root, "system",
                        json_pack("{s:s, s:s, s:I}", "kernel", name.release, "machine",
                                  name.machine, "cores", (json_int_t)csl_usable_cores(NULL)));
    json_object_set_new(root, "devices", describe_devices());
    json_object_set_new(root, "libraries",
                        json_pack("{s:s, s:s, s:s, s:s, s:s}", "mpi", csl_mpi_library(), "hdf5",
                                  CSL_BUILD_HDF5, "onednn", CSL_BUILD_ONEDNN, "openblas",
                                  CSL_BUILD_OPENBLAS, "jansson", jansson_version_str()));
    json_object_set_new(root, "networks", describe_networks());
    json_object_set_new(root, "limits", describe_limits());
    return root;
}

static void print_members(const char *title, json_t *object)
{
    printf("\n%s\n", title);
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(object, key, value)
    {
        if (json_is_string(value)) {
            printf("  %-24s %s\n", key,
                   json_string_value(value)[0] ? json_string_value(value) : "-");
        } else if (json_is_boolean(value)) {
            printf("  %-24s %s\n", key, json_is_true(value) ? "yes" : "no");
        } else {
            printf("  %-24s %lld\n", key, (long long)json_integer_value(value));
        }
    }
}

static void print_devices(const json_t *devices)
{
    printf("\nDevices\n");
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const json_t *device = json_array_get(devices, i);
        const char *description = json_string_value(json_object_get(device, "description"));
        const char *error = json_string_value(json_object_get(device, "error"));
        printf("  %-24s %s\n", json_string_value(json_object_get(device, "resource")),
               description ? description : error);
    }
}

int csl_command_info(int argc, char **argv)
{
    bool as_json = false;
    if (!csl_app_works_alone()) {
        return 0;
    }
    opterr = 0;
    optind = 1;
    int option = 0;
    while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs("Usage: consilium info [--json]\n"
                  "Show the build, the devices found here, libraries with versions, networks that\n"
                  "a study may name, and limits.\n\n"
                  "  --json  for machines\n"
                  "  --help  this text\n",
                  stdout);
            return 0;
        }
        if (option != 'j') {
            return csl_app_unknown_option("info", argv, long_options);
        }
        as_json = true;
    }
    if (optind < argc) {
        return csl_app_usage_error("info", "'%s' is too much", argv[optind]);
    }
    json_t *root = describe();
    if (as_json) {
        json_dumpf(root, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        printf("consilium %s\n", CSL_VERSION);
        print_members("Build", json_object_get(root, "build"));
        print_members("System", json_object_get(root, "system"));
        print_devices(json_object_get(root, "devices"));
        print_members("Libraries", json_object_get(root, "libraries"));
        print_members("Networks", json_object_get(root, "networks"));
        print_members("Limits", json_object_get(root, "limits"));
    }
    json_decref(root);
    return 0;
}
