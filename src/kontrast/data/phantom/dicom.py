"""A phantom's radiograph as a DICOM file.

`data/decode` is the one place that reads DICOM. This is the one place that writes it, so that reading can be tested
on files whose every value is known; pydicom is therefore imported here as well. All identities are generated.
"""

import io

import numpy as np

from kontrast.data.phantom import PhantomImage, PhantomStudy

_DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_WIDTH_CM = 37.2


def encode(study: PhantomStudy, image: PhantomImage, seed: int) -> bytes:
    """A Digital X-Ray Image (for presentation), 12 bits stored in 16, uncompressed little endian.

    One film in five is MONOCHROME1 (bone dark in the stored values), as some detectors write it.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, generate_uid

    key = [str(seed), str(study.patient), str(study.number), image.name]
    inverted = np.random.default_rng([seed, study.patient, study.number, 7]).random() < 0.2
    stored = np.rint(image.film * 4095).astype("<u2")
    if inverted:
        stored = (4095 - stored).astype("<u2")
    rows, columns = stored.shape

    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    file.file_meta.MediaStorageSOPClassUID = UID(_DX_FOR_PRESENTATION)
    file.SOPClassUID = UID(_DX_FOR_PRESENTATION)
    file.SOPInstanceUID = generate_uid(entropy_srcs=["instance", *key])
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    file.StudyInstanceUID = generate_uid(entropy_srcs=["study", *key[:3]])
    file.SeriesInstanceUID = generate_uid(entropy_srcs=["series", *key])
    file.Modality = "DX"
    file.PatientID = f"PHANTOM{study.patient:05d}"
    file.PatientName = f"Phantom^{study.patient:05d}"
    file.PatientSex = study.sex
    file.PatientAge = f"{study.age:03d}Y"
    file.PatientBirthDate = ""
    file.StudyID = str(study.number)
    file.StudyDate = f"{2000 + study.number:04d}0101"
    file.StudyTime = "120000"
    file.AccessionNumber = ""
    file.ReferringPhysicianName = ""
    file.Manufacturer = "kontrast phantom"
    file.BodyPartExamined = "CHEST"
    file.ViewPosition = "LL" if image.view == "lateral" else image.view
    file.PatientOrientation = ["P", "F"] if image.view == "lateral" else ["L", "F"]
    file.ImageLaterality = "U"
    file.SeriesNumber, file.InstanceNumber = "1", "1"
    file.ImageType = ["DERIVED", "PRIMARY", ""]
    file.PresentationIntentType = "FOR PRESENTATION"
    file.BurnedInAnnotation = "NO"
    file.ImagerPixelSpacing = [f"{10 * _WIDTH_CM / columns:.6g}"] * 2
    file.PixelIntensityRelationship, file.PixelIntensityRelationshipSign = "LOG", -1
    file.RescaleIntercept, file.RescaleSlope, file.RescaleType = "0", "1", "US"
    file.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    file.LossyImageCompression = "00"
    file.WindowCenter, file.WindowWidth = "2048", "4096"
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    file.Rows, file.Columns = rows, columns
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PixelData = stored.tobytes()
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
