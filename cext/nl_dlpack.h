/*
 * DLPack: how libraries of arrays hand memory to each other, as plain structs.
 *
 * The layout is that of the standard's two structs, the one without a version and the one with a version, flags
 * included; nothing else of it is needed to describe a row of bytes.
 */
#ifndef NL_DLPACK_H
#define NL_DLPACK_H

#include <stddef.h>
#include <stdint.h>

/* Where memory lies. Those that the processor can read and write; the rest of the list is devices' own memory. */
enum nl_dl_device_type {
    NL_DL_CPU = 1,
    NL_DL_CUDA_HOST = 3,     /* page-locked by CUDA */
    NL_DL_ROCM_HOST = 11,    /* page-locked by ROCm */
    NL_DL_CUDA_MANAGED = 13, /* moved by CUDA to where it is used */
};

#define NL_DL_UNSIGNED 1 /* the code of a data type */
#define NL_DL_MAJOR 1U   /* the version that is spoken */
#define NL_DL_MINOR 0U

/* Flags of a tensor with a version. */
#define NL_DL_READ_ONLY (UINT64_C(1) << 0)
#define NL_DL_IS_COPIED (UINT64_C(1) << 1)

struct nl_dl_tensor {
    void *data;
    int32_t device_type, device_id;
    int32_t dimensions;
    uint8_t type_code, type_bits;
    uint16_t type_lanes;
    int64_t *shape, *strides; /* counted in items */
    uint64_t byte_offset;
};

/* Who takes one over calls its deleter once, from whatever thread. */
struct nl_dl_plain {
    struct nl_dl_tensor tensor;
    void *context;
    void (*deleter)(struct nl_dl_plain *self);
};

struct nl_dl_versioned {
    uint32_t major, minor;
    void *context;
    void (*deleter)(struct nl_dl_versioned *self);
    uint64_t flags;
    struct nl_dl_tensor tensor;
};

_Static_assert(sizeof(void *) != 8 || (sizeof(struct nl_dl_tensor) == 48 && sizeof(struct nl_dl_plain) == 64 &&
                                       sizeof(struct nl_dl_versioned) == 80 &&
                                       offsetof(struct nl_dl_tensor, shape) == 24 &&
                                       offsetof(struct nl_dl_versioned, tensor) == 32),
               "DLPack's structs have the layout of its standard");

/* A row of bytes, with its shape and strides, either of the two ways. */
struct nl_dl_row {
    union {
        struct nl_dl_plain plain;
        struct nl_dl_versioned versioned;
    };
    int64_t length, stride;
};

static inline void nl_dl_describe(struct nl_dl_row *row, struct nl_dl_tensor *tensor, void *data, int64_t length,
                                  int32_t device_type, int32_t device_id)
{
    row->length = length;
    row->stride = 1;
    *tensor = (struct nl_dl_tensor){.data = data,
                                    .device_type = device_type,
                                    .device_id = device_id,
                                    .dimensions = 1,
                                    .type_code = NL_DL_UNSIGNED,
                                    .type_bits = 8,
                                    .type_lanes = 1,
                                    .shape = &row->length,
                                    .strides = &row->stride};
}

#endif
