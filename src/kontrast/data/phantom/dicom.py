"""What the DICOM file of a phantom's radiograph says. All identities are generated."""

import numpy as np

from kontrast.data.phantom import PhantomImage, PhantomStudy

_WIDTH_CM = 37.2


def encode(study: PhantomStudy, image: PhantomImage, seed: int) -> bytes:
    """The bytes of the file: 12 bits; one film in five is MONOCHROME1."""
    from kontrast.data.decode.dicom_writer import encode_radiograph

    key = [str(seed), str(study.patient), str(study.number), image.name]
    side = image.view == "lateral"
    elements = {
        "PatientID": f"PHANTOM{study.patient:05d}",
        "PatientName": f"Phantom^{study.patient:05d}",
        "PatientSex": study.sex,
        "PatientAge": f"{study.age:03d}Y",
        "PatientBirthDate": "",
        "StudyID": str(study.number),
        "StudyDate": f"{2000 + study.number:04d}0101",
        "StudyTime": "120000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Manufacturer": "kontrast phantom",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "LL" if side else image.view,
        "PatientOrientation": ["P", "F"] if side else ["L", "F"],
        "ImageLaterality": "U",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
        "ImageType": ["DERIVED", "PRIMARY", ""],
        "BurnedInAnnotation": "NO",
        "ImagerPixelSpacing": [f"{10 * _WIDTH_CM / image.film.shape[1]:.6g}"] * 2,
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        "RescaleType": "US",
    }
    return encode_radiograph(
        np.rint(image.film * 4095).astype(np.uint16),
        bits=12,
        inverted=bool(np.random.default_rng([seed, study.patient, study.number, 7]).random() < 0.2),
        uids={
            "SOPInstanceUID": ["instance", *key],
            "StudyInstanceUID": ["study", *key[:3]],
            "SeriesInstanceUID": ["series", *key],
        },
        elements=elements,
    )
