/*
 * Files: data sets, models and updates as HDF5. Not collective: each file is opened by one process
 * for writing, by any number for reading. docs/FORMATS.md describes what is in them.
 */
#ifndef CONSILIUM_FILES_H
#define CONSILIUM_FILES_H

#include <consilium/dataset.h>
#include <consilium/model.h>

enum { CSL_TEXT_MAX = 512 /* bytes of a descriptive text, the closing zero included */ };

/*
 * What a data set file says beside images and labels: X(field, object, attribute). All are texts;
 * empty is written as "unknown". Terms are DICOM's where DICOM has one.
 */
#define CSL_METADATA_LIST(X)                                                                       \
    X(study_id, "/", "study_id")                                                                   \
    X(site_uid, "/", "site_uid")                                                                   \
    X(licence, "/", "licence")                                                                     \
    X(citation, "/", "citation")                                                                   \
    X(dicom_modality, "/images", "dicom_modality")                                                 \
    X(sop_class, "/images", "sop_class")                                                           \
    X(body_part, "/images", "body_part")                                                           \
    X(photometric, "/images", "photometric")                                                       \
    X(bits_stored, "/images", "bits_stored")                                                       \
    X(units, "/images", "units")                                                                   \
    X(spacing_mm, "/images", "spacing_mm")                                                         \
    X(orientation, "/images", "orientation")                                                       \
    X(window, "/images", "window")                                                                 \
    X(resampling, "/images", "resampling")                                                         \
    X(coding, "/labels", "coding")                                                                 \
    X(split_method, "/split", "method")                                                            \
    X(deid_method, "/governance", "deid_method")                                                   \
    X(patient_identity_removed, "/governance", "patient_identity_removed")                         \
    X(burned_in_annotation, "/governance", "burned_in_annotation")                                 \
    X(date_shift, "/governance", "date_shift")                                                     \
    X(face_removed, "/governance", "face_removed")                                                 \
    X(k_anonymity, "/governance", "k_anonymity")                                                   \
    X(legal_basis, "/governance", "legal_basis")                                                   \
    X(consent, "/governance", "consent")                                                           \
    X(irb_id, "/governance", "irb_id")                                                             \
    X(dua_id, "/governance", "dua_id")                                                             \
    X(retention_until, "/governance", "retention_until")                                           \
    X(permitted_algorithms, "/governance", "permitted_algorithms")                                 \
    X(dp_budget_max, "/governance", "dp_budget_max")                                               \
    X(dp_budget_spent, "/governance", "dp_budget_spent")

#define CSL_METADATA_FIELD(field, object, attribute) char field[CSL_TEXT_MAX];
typedef struct csl_dataset_metadata {
    CSL_METADATA_LIST(CSL_METADATA_FIELD)
} csl_dataset_metadata;

/* Sets one text by its name in the list ("consent"; split_method is /split's method). Errors:
 * E_NOT_FOUND (no such name; suggests the nearest), E_RANGE (empty or too long), E_FORMAT (not
 * UTF-8, or a character that does not print). */
CSL_API CSL_MUST_CHECK csl_status csl_metadata_set(csl_dataset_metadata *metadata,
                                                   const char *name,
                                                   const char *text);
/* Takes a text for the name of an institution. Errors: E_RANGE (empty, too long, "unknown"),
 * E_FORMAT (not UTF-8, or a character that does not print). */
CSL_API CSL_MUST_CHECK csl_status csl_site_set(const char *text, char site_out[CSL_NAME_MAX]);

/* Reads a data set file of schema fedmed-study 1.0. Everything in it is checked before memory is
 * taken. Refused: attributes and objects named like identifying data (PatientName, MRN, BirthDate,
 * ...), patient_identity_removed other than YES or unknown, NaN and infinities, a stored checksum
 * that does not hold. Errors: E_NOT_FOUND, E_FORMAT (message names file, object, expected and
 * found), E_VERIFY (checksum), E_NO_MEMORY, E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_read(const char *path, csl_dataset **dataset_out);
/* The same; force reads a file that may identify patients. metadata_out may be NULL. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_read_described(const char *path,
                                                             bool force,
                                                             csl_dataset **dataset_out,
                                                             csl_dataset_metadata *metadata_out);

/* A problem makes a file unusable; what is no problem is a warning. */
typedef void (*csl_finding_report)(void *context, bool is_problem, const char *text);
/* Reads a data set file and reports every problem it has, ten of a kind, where reading stops at the
 * first; then warnings. dataset_out is NULL if there was a problem. Errors: E_NOT_FOUND, E_FORMAT
 * (no HDF5 file), E_NO_MEMORY, E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_validate(const char *path,
                                                       bool force,
                                                       csl_finding_report report,
                                                       void *context,
                                                       uint64_t *problem_count_out,
                                                       csl_dataset **dataset_out);
/* Reports what is sound but trains or measures badly: a split or class without images, constant
 * images, copies, subjects in several splits. Errors: E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_warn(const csl_dataset *dataset,
                                                   csl_finding_report report,
                                                   void *context);

/* Writes a data set to path through a temporary file and a rename: an earlier file stays whole
 * until the new one is complete, also when the disk is full. Errors: E_RANGE (a label out of range,
 * a NaN; the message names it), E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_write(const char *path, const csl_dataset *dataset);
/* The same with descriptive texts; metadata may be NULL. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_write_described(const char *path,
                                                              const csl_dataset *dataset,
                                                              const csl_dataset_metadata *metadata);

/* SHA-256 of what a data set holds: shape, type, images, labels, splits, subjects, groups,
 * scanners. Equal content has equal digests whatever the file's layout. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_digest(const csl_dataset *dataset,
                                                     uint8_t digest_out[32]);

/* Writes a model: its layers, tensors by name with shapes, and attributes; same care.
 * study_sha256: 64 hexadecimal digits or NULL. */
CSL_API CSL_MUST_CHECK csl_status csl_model_write(const char *path,
                                                  const csl_model_spec *spec,
                                                  const float *parameters,
                                                  const char *study_sha256,
                                                  uint32_t round);
/* Reads a model file; spec_out and parameters_out are owned by the caller (destroy, free). */
CSL_API CSL_MUST_CHECK csl_status csl_model_read(const char *path,
                                                 csl_model_spec **spec_out,
                                                 float **parameters_out);

#endif
